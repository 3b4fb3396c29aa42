// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// How common/robust.hpp sleeps and wakes, for the model checker Spin.  The
// word says who holds the lock (0: nobody), and whether the kernel is to wake
// somebody when the holder dies; `sleepers` says whether an unlock is to.
//
//   unlock  if sleepers is 1: sleepers = 0; then word = 0; and if sleepers was
//           1, or is 1 now: wake one
//   sleep   take it if it is free, and then say sleepers = 1 for the others;
//           else mark the word; sleepers = 1; heavy fence; sleep if the word
//           still is what was marked; or give up, and wake one instead
//
// The stores of unlock are plain ones: each process has a buffer from which
// they reach the memory later, in their order (as on x86).  A compare-and-swap
// and a system call wait until the own buffer is empty, the heavy fence until
// all are.  Nobody dies here, and there are no naps: those limit what a death
// costs.  So who sleeps beside a free lock when all others have left sleeps
// for ever, which Spin calls an invalid end state.
//
// verify: -DROUNDS=2 | -DSAFETY | -m1000000 -w26
// verify: -DROUNDS=2 -DGIVES_UP | -DSAFETY | -m1000000 -w26
//
// Who goes to sleep runs a fence for itself only:
// refute: -DLIGHT_FENCE -DROUNDS=1 | -DSAFETY | -m1000000 -w24
//   says: invalid end state
// Who was woken takes the lock and does not say that there may be others:
// refute: -DSAYS_NOTHING -DROUNDS=1 | -DSAFETY | -m1000000 -w24
//   says: invalid end state
// Who has no more time wakes nobody instead:
// refute: -DGIVES_UP -DWAKES_NOBODY -DROUNDS=2 | -DSAFETY | -m1000000 -w24
//   says: invalid end state
// An unlock looks before it frees the lock, and not after it:
// refute: -DLOOKS_FIRST -DROUNDS=1 | -DSAFETY | -m1000000 -w24
//   says: invalid end state
// An unlock clears `sleepers` when it has freed the lock:
// refute: -DCLEARS_LAST -DROUNDS=2 | -DSAFETY | -m1000000 -w24
//   says: invalid end state
// The word is marked last: it may be marked in the same process's next turn:
// refute: -DMARKS_LAST -DROUNDS=2 | -DSAFETY | -m1000000 -w24
//   says: invalid end state

#define PROCESSES 3
#define MARK 4                  // in the word, beside the number of its holder

byte word;
bit sleepers;
byte inside;                    // how many hold the lock
bool asleep[PROCESSES];         // the kernel's queue for the word

mtype = { to_word, to_sleepers };
chan buffer[PROCESSES] = [3] of { mtype, byte };

#define me _pid
#define holder(w) ((w) & 3)

#define drained(who) (len(buffer[who]) == 0)
#define all_drained (drained(0) && drained(1) && drained(2))

// What this process sees of `sleepers`: its own store, if that is under way.
#define seen_sleepers \
    (buffer[me]??[to_sleepers, 1] || \
     (sleepers == 1 && !buffer[me]??[to_sleepers, 0]))

inline take(bits)
{
    if
    :: atomic {
            drained(me) && holder(word) == 0 ->
            word = (me + 1) | (word & MARK) | bits;
            inside++;
            assert(inside == 1);
            taken = true
        }
    :: atomic {                 // its own unlock, under way, it would see
            holder(word) != 0 && !buffer[me]??[to_word, 0]
        }
    fi
}

inline wake_one()
{
    atomic {
        drained(me);
        if
        :: asleep[0] -> asleep[0] = false
        :: asleep[1] -> asleep[1] = false
        :: asleep[2] -> asleep[2] = false
        :: !asleep[0] && !asleep[1] && !asleep[2]
        fi
    }
}

inline unlock()
{
    inside--;
#ifdef CLEARS_LAST
    buffer[me]!to_word, 0;
    looked = seen_sleepers;
    if
    :: looked -> buffer[me]!to_sleepers, 0
    :: else
    fi;
#else
    looked = seen_sleepers;
    if
    :: looked -> buffer[me]!to_sleepers, 0
    :: else
    fi;
    buffer[me]!to_word, 0;
#ifndef LOOKS_FIRST
    looked = looked || seen_sleepers;
#endif
#endif
    if
    :: looked -> wake_one(); looked = false
    :: else
    fi
}

inline mark()                   // what it has seen, if that is still so
{
    if
    :: (seen & MARK) == 0 ->
        atomic {
            drained(me) ->
            if
            :: word == seen -> word = word | MARK; seen = word
            :: else -> seen = 0
            fi
        }
    :: else
    fi
}

inline sleep()
{
    do
    :: take(MARK);
        if
        :: taken ->
#ifndef SAYS_NOTHING
            buffer[me]!to_sleepers, 1;
#endif
            break
        :: else
        fi;
        seen = word;
        if
        :: holder(seen) == 0 -> goto again
        :: else
        fi;
#ifdef MARKS_LAST
        buffer[me]!to_sleepers, 1;
#endif
        mark();
        if
        :: seen == 0 -> goto again
        :: else
        fi;
#ifndef MARKS_LAST
        buffer[me]!to_sleepers, 1;
#endif
#ifdef LIGHT_FENCE
        drained(me);
#else
        all_drained;
#endif
#ifdef GIVES_UP
        if
        ::
#ifndef WAKES_NOBODY
            wake_one();
#endif
            break
        :: true
        fi;
#endif
        atomic {                // futex_wait
            drained(me) ->
            if
            :: word == seen -> asleep[me] = true
            :: else
            fi
        }
        !asleep[me];
again:  seen = 0
    od;
    seen = 0
}

active [PROCESSES] proctype process()
{
    byte rounds = ROUNDS, seen;
    bool taken, looked;
    do
    :: rounds > 0 ->
        rounds--;
        take(0);
        if
        :: !taken -> sleep()
        :: else
        fi;
        if
        :: taken -> unlock(); taken = false
        :: else
        fi
    :: rounds == 0 -> break
    od
}

#undef me

inline arrive(who)
{
    if
    :: buffer[who]?to_word, value -> word = value
    :: buffer[who]?to_sleepers, value -> sleepers = value
    fi;
    value = 0
}

active proctype memory()
{
    byte value;
end:
    do
    :: atomic { !drained(0) -> arrive(0) }
    :: atomic { !drained(1) -> arrive(1) }
    :: atomic { !drained(2) -> arrive(2) }
    od
}
