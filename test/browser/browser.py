#!/usr/bin/python3
# Copyright 2026 The Authors.
# Distributed under the Boost Software License, Version 1.0.
#
# browser.py PROGRAM [DIRECTORY]: opens the page of asynchronous_processing in a
# headless Chromium, by the plain WebDriver protocol: tiles come, zooming asks
# for others, a killed worker is counted, the console stays empty; wide and as
# a phone, light and dark.  Leaves screenshots in DIRECTORY.

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request

program = sys.argv[1]
pictures = sys.argv[2] if len(sys.argv) > 2 else None
failures = passes = 0


def check(what, good):
    global failures, passes
    failures += not good
    passes += good
    print(("passed: " if good else "failed: ") + what, flush=True)


def eventually(fact, limit=30):
    deadline = time.monotonic() + limit
    while not fact():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class Driver:
    def __init__(self):
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:  # ends with the line, or with it
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                break
        self.base = "http://127.0.0.1:" + found[1]
        options = {"args": ["--headless=new", "--no-sandbox",
                            "--disable-gpu", "--disable-dev-shm-usage",
                            "--window-size=1280,800"]}
        session = self.call("POST", "/session", {"capabilities": {
            "alwaysMatch": {"goog:chromeOptions": options,
                            "goog:loggingPrefs": {"browser": "ALL"}}}})
        self.base += "/session/" + session["sessionId"]

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.base + path, data, {"Content-Type": "application/json"},
            method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script):
        return self.call("POST", "/execute/sync",
                         {"script": script, "args": []})

    def click(self, selector):  # as a person would: it must be in sight
        found = self.call("POST", "/element",
                          {"using": "css selector", "value": selector})
        self.call("POST", "/element/%s/click" % list(found.values())[0], {})

    def devtools(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute",
                         {"cmd": command, "params": parameters})

    def errors(self):
        return [one["message"] for one in
                self.call("POST", "/se/log", {"type": "browser"})
                if one["level"] in ("SEVERE", "WARNING")]

    def picture(self, name):
        if pictures:
            eventually(lambda: self.run(  # tiles fade in
                "return document.getAnimations().every(one => "
                "one.playState !== 'running')"))
            image = base64.b64decode(self.call("GET", "/screenshot"))
            with open(os.path.join(pictures, name), "wb") as file:
                file.write(image)

    def end(self):
        self.call("DELETE", "")
        self.process.terminate()
        self.process.wait()


server = subprocess.Popen([program, "--port", "0"], stdout=subprocess.PIPE,
                          text=True)
page = server.stdout.readline().split()[-1]
browser = Driver()
try:
    here = "return document.querySelectorAll('#map img.here').length"
    all_here = ("return document.querySelectorAll('#map img').length === "
                "document.querySelectorAll('#map img.here').length")
    browser.call("POST", "/url", {"url": page})
    check("tiles come", eventually(lambda: browser.run(here) >= 4))
    check("the workers are shown",
          eventually(lambda: browser.run(
              "return document.querySelectorAll('.worker strong').length") > 0))
    where = browser.run("return document.getElementById('where').textContent")
    browser.run("const m = document.getElementById('map'), k = key => "
                "m.dispatchEvent(new KeyboardEvent('keydown', {key, "
                "cancelable: true})); k('ArrowLeft'); for (let i = 0; i < 2; "
                "++i) k('+');")
    check("keys move and zoom", eventually(lambda: browser.run(
        "return document.getElementById('where').textContent") != where))
    check("tiles come after zooming",
          eventually(lambda: browser.run(here) >= 4 and browser.run(all_here)))
    browser.picture("light.png")
    browser.click(".worker button")
    check("a killed worker is counted", eventually(lambda: int(browser.run(
        "return document.getElementById('restarts').textContent")) > 0))
    browser.click("[data-do=in]")
    check("buttons zoom, and tiles come after the kill",
          eventually(lambda: browser.run(all_here)))
    browser.devtools("Emulation.setEmulatedMedia", features=[
        {"name": "prefers-color-scheme", "value": "dark"}])
    browser.picture("dark.png")
    browser.devtools("Emulation.setDeviceMetricsOverride", width=390,
                     height=844, deviceScaleFactor=2, mobile=True)
    check("a phone needs no sideways scrolling", eventually(
        lambda: browser.run("return document.documentElement.scrollWidth <= "
                            "window.innerWidth")))
    eventually(lambda: browser.run(all_here))
    browser.picture("phone.png")
    said = browser.errors()
    check("the console is empty " + "; ".join(said), not said)
finally:
    browser.end()
    server.terminate()
check("the server ends in order", server.wait(30) == 0)
print("%d passed, %d failed" % (passes, failures))
sys.exit(failures != 0)
