// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// The protocol of common/wait.hpp, `event_count`, for the model checker Spin:
// one word on which processes sleep until something becomes true.  Bit 0 of it
// says that somebody may be asleep; the rest counts.  The kernel's part is
// the futex: who sleeps on the word is queued only if it still holds what he
// saw; a wake-up takes one or all from the queue.
//
//   sleeper      set bit 0; look again; sleep if the word is as it was then
//   notify_one   (after the change) if bit 0 is set: count; wake one; if there
//                was none: clear bit 0 and count, if the word is still ours;
//                then wake all
//   notify_all   (after the change) if bit 0 is set: clear it and count; wake
//                all
//   supervisor   after a death was dealt with: count; wake all
//
// Two processes that wait, two that publish, and misfortune, which kills any
// of them between any two steps.  A task, once taken, may run for ever, so it
// is no excuse that another worker will come and look.  There are no timeouts
// here: the real ones only limit what a mistake would cost.
//
// As workers wait: any of them may take what is published.
// verify: -DITEMS=3 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
// verify: -DITEMS=2 -DDEATHS=2 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//
// As submitters wait: each for its own result.
// verify: -DOWN -DITEMS=2 -DDEATHS=1 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//
// Who publishes may put the wake-ups off, and die meanwhile:
// verify: -DLATER -DITEMS=2 -DDEATHS=1 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//
// It publishes several, and then wakes one only:
// refute: -DLATER -DONE_FOR_ALL | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// It dies before the wake-ups that it had put off, and nobody makes up for them:
// refute: -DLATER -DNO_WAKE_AFTER_DEATH -DDEATHS=1 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// A sleeper does not look again after it has set the bit:
// refute: -DNO_RECHECK | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// Nobody wakes the others when a notifier has died before it could:
// refute: -DNO_WAKE_AFTER_DEATH -DDEATHS=1 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// Bit 0 is cleared before the wake-up and set again after it: meanwhile a
// second notifier relies on the worker that wakes up, who is busy then:
// refute: -DCLEAR_FIRST | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// Clearing the bit does not count, so that the next sleeper's bit restores the
// word that the last one saw:
// refute: -DCLEAR_ONLY -DITEMS=3 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle
// One is woken, but not the one whose result it is:
// refute: -DOWN -DWAKE_ONE | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle

#define SLEEPERS 2
#define NOTIFIERS 2

#ifndef ITEMS
#define ITEMS 2                 // published, all in all
#endif
#ifndef DEATHS
#define DEATHS 0
#endif

#ifdef LATER
#define MOST_OWED 2             // wake-ups that a notifier puts off
#else
#define MOST_OWED 1
#endif

byte word;

// What is published, and not yet taken.
#ifdef OWN
byte available[SLEEPERS];
#define place(sleeper) sleeper
#else
byte available[1];
#define place(sleeper) 0
#endif
byte unpublished = ITEMS;
bool holds[SLEEPERS];           // an item, until it is done with

bool asleep[SLEEPERS];          // the kernel's queue for the word

bool is_dead[SLEEPERS + NOTIFIERS];
chan start[SLEEPERS + NOTIFIERS] = [0] of { bit };
chan kill[SLEEPERS + NOTIFIERS] = [0] of { bit };

#define me _pid

// --- who waits -------------------------------------------------------------

inline take()
{
    available[place(me)]--;
    holds[me] = true
}

active [SLEEPERS] proctype sleeper()
{
    byte seen;
born:
    {
        do
        :: do
           :: atomic {          // found while it still spins
                    available[place(me)] > 0 -> take(); break
                }
           :: atomic { word = word | 1; seen = word }
#ifndef NO_RECHECK
               if
               :: atomic {
                        available[place(me)] > 0 -> take(); seen = 0; break
                    }
               :: else
               fi;
#endif
               atomic {         // futex_wait
                   if
                   :: word == seen -> asleep[me] = true
                   :: else
                   fi;
                   seen = 0
               }
               !asleep[me]
           od;
           if
           :: holds[me] = false         // done with it
           :: true; false               // or never
           fi
        od
    } unless {
        atomic { kill[me]?_ -> seen = 0 }
    };
    start[me]?_;
    goto born
}

// --- who publishes ---------------------------------------------------------

inline wake_all()
{
    asleep[0] = false; asleep[1] = false
}

inline clear()                  // compare-and-swap; `seen` says whether it was
{
    if
#ifdef CLEAR_ONLY
    :: word == seen -> word = word & 254
#else
    :: word == seen -> word = (word + 2) & 254
#endif
    :: else -> seen = 0
    fi
}

inline wake_one(woken)          // futex_wake; says so when there was one
{
    if
    :: asleep[0] -> asleep[0] = false; seen = woken
    :: asleep[1] -> asleep[1] = false; seen = woken
    :: !asleep[0] && !asleep[1]
    fi
}

inline notify_one()
{
    if
    :: (word & 1) == 0
    :: else ->
        atomic { word = word + 2; seen = word }
        atomic { wake_one(0) }
        if
        :: seen != 0 ->
            atomic { clear() }
            atomic {
                if
                :: seen != 0 -> wake_all(); seen = 0
                :: else
                fi
            }
        :: else
        fi
    fi
}

inline notify_one_clearing_first()
{
    do
    :: atomic { (word & 1) == 0 -> break }
    :: atomic { (word & 1) == 1 -> seen = word }
        atomic { clear() }
        if
        :: seen != 0 ->
            atomic { seen = 0; wake_one(1) }
            atomic { word = word | seen; seen = 0; break }
        :: else
        fi
    od
}

inline notify_all()
{
    do
    :: atomic { (word & 1) == 0 -> break }
    :: atomic { (word & 1) == 1 -> seen = word }
        atomic { clear() }
        if
        :: atomic { seen != 0 -> wake_all(); seen = 0; break }
        :: else
        fi
    od
}

active [NOTIFIERS] proctype notifier()
{
    byte seen, owed;            // so many wake-ups
born:
    {
        do
        :: atomic {
                unpublished > 0 && owed < MOST_OWED ->
                unpublished--;
                owed++;
#ifdef OWN
                if
                :: available[0]++
                :: available[1]++
                fi
#else
                available[0]++
#endif
            }
#ifdef ONE_FOR_ALL
        :: atomic { owed > 0 -> owed = 0 }
#else
        :: atomic { owed > 0 -> owed-- }
#endif
#if defined(CLEAR_FIRST)
            notify_one_clearing_first()
#elif defined(OWN) && !defined(WAKE_ONE)
            notify_all()
#else
            notify_one()
#endif
        :: unpublished == 0 && owed == 0 -> false
        od
    } unless {
        atomic { kill[me]?_ -> seen = 0; owed = 0 }
    };
    start[me]?_;
    goto born
}

// --- the supervisor --------------------------------------------------------

#undef me

active proctype supervisor()
{
    byte who;
    do
    :: atomic {
            if
            :: is_dead[0] -> who = 0
            :: is_dead[1] -> who = 1
            :: is_dead[2] -> who = 2
            :: is_dead[3] -> who = 3
            fi
        }
        atomic {                // what it held is given to others
            if
            :: who < SLEEPERS ->
                if
                :: holds[who] -> holds[who] = false; available[place(who)]++
                :: else
                fi
            :: else
            fi
        }
#ifndef NO_WAKE_AFTER_DEATH
        word = word + 2;
        atomic { wake_all() }
#endif
        atomic { is_dead[who] = false; start[who]!0 }
        who = 0
    od
}

// --- misfortune ------------------------------------------------------------

inline strike(who)
{
    deaths--;
    is_dead[who] = true;
    kill[who]!0
}

active proctype misfortune()
{
    byte deaths = DEATHS;
    do
    :: atomic { deaths > 0 && !is_dead[0] -> asleep[0] = false; strike(0) }
    :: atomic { deaths > 0 && !is_dead[1] -> asleep[1] = false; strike(1) }
    :: atomic { deaths > 0 && !is_dead[2] -> strike(2) }
    :: atomic { deaths > 0 && !is_dead[3] -> strike(3) }
    :: deaths >= 0              // it may strike, but it need not
    od
}

// --- what must become true -------------------------------------------------

#define in_vain(sleeper) (asleep[sleeper] && available[place(sleeper)] > 0)

ltl nobody_sleeps_beside_work { !(<>[] (in_vain(0) || in_vain(1))) }
