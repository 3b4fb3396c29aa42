// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// The protocol of common/cells.hpp, for the model checker Spin: a task lives
// in one cell, and one word of it decides everything.  README.md here says
// what is proven and what is not.
//
//   free                -> ready(0)      its submitter, input written: ACCEPTED
//   ready(a)            -> running(w,a)  worker w
//   running(w,a)        -> done(a)       worker w, output written: COMMITTED
//   running(w,a)        -> ready(a+1)    supervisor, after the death of w, or
//                          poisoned      when a+1 = K
//   ready(a)            -> revoked(0)    submitter: cancelled while it waited
//   running(w,a)        -> revoked(w)    submitter: taken from w, to be killed
//   revoked(w)          -> revoked(0)    supervisor, after the death of w
//   done, poisoned,     -> free          submitter, result read; supervisor,
//   revoked(0)                           when the submitter is dead
//
// Two submitters with one cell each, two workers, one supervisor, and
// misfortune, which kills any submitter or worker between any two steps.  A
// step is one `atomic` or one statement: what one process does to the shared
// memory at one instant.
//
// A check that cannot fail proves nothing: each protocol below that lacks one
// rule has to be refuted, with the error that is named after it.
//
// Nothing lost, doubled or torn, no cell reused too early, nobody stuck:
// verify: -DTASKS=2 -DWORKER_DEATHS=4 | -DSAFETY -DNOREDUCE | -m100000 -w24
// verify: -DTASKS=2 -DWORKER_DEATHS=2 -DDEADLY -DENDLESS | -DSAFETY -DNOREDUCE | -m100000 -w24
//
// Every accepted task ends, and so it goes on for ever:
// verify: -DLIVENESS -DDEADLY -DENDLESS | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
// verify: -DLIVENESS -DFOREVER -DSUBMITTER_DEATHS=0 | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//
// The supervisor takes a slow worker for dead:
// refute: -DUNFENCED -DTASKS=2 | -DSAFETY -DNOREDUCE | -m100000 -w24
//   says: assertion violated .*out0
// A worker commits by a plain store:
// refute: -DPLAIN_COMMIT | -DSAFETY -DNOREDUCE | -m100000 -w24
//   says: assertion violated pending
// A revoked cell is used again while its worker still lives:
// refute: -DEARLY_REUSE -DTASKS=2 | -DSAFETY -DNOREDUCE | -m100000 -w24
//   says: assertion violated .*at.1
// Input and output share their bytes:
// refute: -DONE_AREA | -DSAFETY -DNOREDUCE | -m100000 -w24
//   says: assertion violated in0
// Nobody kills a worker whose task was revoked:
// refute: -DNO_KILL -DENDLESS | -DSAFETY -DNOREDUCE | -m100000 -w24
//   says: invalid end state
// Attempts are not counted:
// refute: -DLIVENESS -DDEADLY -DNO_POISON | -DNOREDUCE -DNFAIR=3 | -a -f -m1000000 -w24
//   says: acceptance cycle

#define LANES 2                 // a submitter and its one cell each
#define WORKERS 2
#define K 2                     // attempts of a task

#ifndef TASKS
#define TASKS 1                 // of each lane
#endif
#ifndef WORKER_DEATHS
#define WORKER_DEATHS 1         // by misfortune; more by deadly tasks and kills
#endif
#ifndef SUBMITTER_DEATHS
#define SUBMITTER_DEATHS 1
#endif

// --- the cell --------------------------------------------------------------

#define free     0
#define ready    1
#define running  2
#define done     3
#define poisoned 4
#define revoked  5

#define word(state, owner, attempt, lap) \
    ((state) << 5 | (owner) << 3 | (attempt) << 2 | (lap))
#define state(w)   ((w) >> 5)
#define owner(w)   ((w) >> 3 & 3)       // 0 is nobody
#define attempt(w) ((w) >> 2 & 1)
#define lap(w)     ((w) & 3)

#ifdef EARLY_REUSE
#define final(w) (state(w) >= done)
#else
#define final(w) (state(w) >= done && owner(w) == 0)
#endif

byte control[LANES];

// Input and output are written in two steps, so they can be found torn.  Only
// what a byte means to the task now in its cell counts: an input half is that
// of this task (1) or not (0), an output half is that of this task's attempt
// a (a + 1) or of anything else (0).
bit in0[LANES], in1[LANES];
byte out0[LANES], out1[LANES];

#define output_of(w, cell) \
    (lap(w) == lap(control[cell]) -> attempt(w) + 1 : 0)

// --- life and death --------------------------------------------------------

// The supervisor knows a death from the kernel, which tells it some time after
// (here: whenever the supervisor comes to look), and never tells a lie.
#define dead     0
#define alive    1
#define finished 2              // a submitter with nothing more to submit

byte worker_is[WORKERS + 1], submitter_is[LANES];       // workers from 1 on
chan start_worker[WORKERS + 1] = [0] of { bit };
chan start_submitter[LANES] = [0] of { bit };
chan kill_worker[WORKERS + 1] = [0] of { bit };
chan kill_submitter[LANES] = [0] of { bit };

// --- what only the observer knows ------------------------------------------

#define patient   0             // waits for the result
#define impatient 1             // may be cancelled at any time
#define deadly    2             // kills its worker, always
#define endless   3             // never returns; has a deadline

byte kind[LANES];               // of the task in the cell
bool pending[LANES];            // accepted, and not yet come to its end
bool committed[LANES];          // its result
byte at[WORKERS + 1];           // 1 + the cell that a worker may write to

inline ends(cell)               // once, and only what was accepted
{
    assert(pending[cell]);
    pending[cell] = false
}

// The result has been read, or nobody is left to read it.  The old bytes mean
// nothing to the next task, so they are forgotten: fewer states.
inline give_back(cell)
{
    assert(!pending[cell]);
    assert(committed[cell] == (state(control[cell]) == done));
#ifndef UNFENCED                // there the harm itself is to be seen
    assert(at[1] != cell + 1 && at[2] != cell + 1);
#endif
    control[cell] = word(free, 0, 0, lap(control[cell]));
    kind[cell] = patient; committed[cell] = false;
    in0[cell] = 0; in1[cell] = 0; out0[cell] = 0; out1[cell] = 0
}

// --- the submitters --------------------------------------------------------

#define me _pid

active [LANES] proctype submitter()
{
start:
    {
        start_submitter[me]?_;
        do
#ifdef FOREVER
        :: atomic {
#else
        :: atomic { lap(control[me]) < TASKS ->
#endif
                assert(state(control[me]) == free);
                in0[me] = 1
            }
            in1[me] = 1;

            atomic {            // one exchange: the task is accepted
#ifdef FOREVER
                control[me] = word(ready, 0, 0, 1 - lap(control[me]));
#else
                control[me] = word(ready, 0, 0, lap(control[me]) + 1);
#endif
                pending[me] = true;
                if
                :: kind[me] = patient
                :: kind[me] = impatient
#ifdef DEADLY
                :: kind[me] = deadly
#endif
#ifdef ENDLESS
                :: kind[me] = endless
#endif
                fi
            }

            do
            :: atomic {         // cancel; the owner, if any, stays
                    (kind[me] == impatient || kind[me] == endless) &&
                    (state(control[me]) == ready ||
                     state(control[me]) == running) ->
                    ends(me);
                    control[me] = word(revoked, owner(control[me]),
                        attempt(control[me]), lap(control[me]))
                }
            :: atomic {
                    final(control[me]) ->
                    assert(state(control[me]) != done ||
                        (out0[me] == output_of(control[me], me) &&
                         out1[me] == output_of(control[me], me)));
                    give_back(me);
                    break
                }
#ifdef LIVENESS
            :: kind[me] == impatient    // it may, but it need not
#endif
            od
        :: atomic { else -> submitter_is[me] = finished; break }
        od;
end_finished:
        false
    } unless {
        kill_submitter[me]?_
    };
    goto start                  // as another process, which knows nothing
}

// --- the workers -----------------------------------------------------------

#undef me
#define me (_pid - LANES + 1)

active [WORKERS] proctype worker()
{
    byte cell, mine;            // the cell taken, and what it must say still
#ifdef FOREVER
    bit next;                   // lanes in turn
#endif
start:
    {
        start_worker[me]?_;
end_idle:
        atomic {                // compare-and-swap; one that fails looks on
            if
#ifdef FOREVER
            :: state(control[next]) == ready ->
                cell = next; next = 1 - next
            :: state(control[next]) != ready &&
               state(control[1 - next]) == ready -> cell = 1 - next
#else
            :: state(control[0]) == ready -> cell = 0
            :: state(control[1]) == ready -> cell = 1
#endif
            fi;
            mine = word(running, me, attempt(control[cell]),
                lap(control[cell]));
            control[cell] = mine;
            at[me] = cell + 1
        }
        atomic {
            if
            :: kind[cell] == deadly -> goto dies
            :: kind[cell] == endless -> false
            :: else
            fi;
            assert(in0[cell]);
            out0[cell] = output_of(mine, cell);
#ifdef ONE_AREA
            in0[cell] = 0
#endif
        }
        atomic {
            assert(in1[cell]);
            out1[cell] = output_of(mine, cell);
#ifdef ONE_AREA
            in1[cell] = 0
#endif
        }
        atomic {                // compare-and-swap: the result is committed
            if
#ifdef PLAIN_COMMIT
            :: true ->
#else
            :: control[cell] == mine ->
#endif
                ends(cell);
                committed[cell] = true;
                control[cell] = word(done, 0, attempt(mine), lap(mine));
                at[me] = 0; cell = 0; mine = 0;
                goto end_idle
            :: else -> goto dies        // somebody took the task away
            fi
        }
dies:   atomic { worker_is[me] = dead; at[me] = 0; cell = 0; mine = 0 }
    } unless {
        atomic { kill_worker[me]?_ -> cell = 0; mine = 0 }
    };
    goto start
}

// --- the supervisor --------------------------------------------------------

#undef me

inline kill(w)
{
    worker_is[w] = dead;
    at[w] = 0;
    kill_worker[w]!0
}

// The cell itself is the order to kill, so that no order can get lost with
// the submitter that gave it.
#ifdef NO_KILL
#define must_die(w, cell) false
#else
#define must_die(w, cell) (owner(control[cell]) == w && \
    (state(control[cell]) == revoked || kind[cell] == endless))
#endif

// In a world that goes on for ever, whoever needs the supervisor has his turn:
// the kernel reports deaths in their order.
#ifdef FOREVER
#define needs(w) (worker_is[w] == dead || must_die(w, 0) || must_die(w, 1))
#define serves(w) (last != w || !needs(3 - w))
#else
#define serves(w) true
#endif

active proctype supervisor()
{
    byte w, cell, seen;
#ifdef FOREVER
    byte last;
#endif
#ifdef UNFENCED
    bool suspects = true;
#endif
end_idle:
    do
    :: atomic {
            if
            :: worker_is[1] == dead && serves(1) -> w = 1
            :: worker_is[2] == dead && serves(2) -> w = 2
#ifdef UNFENCED
            :: suspects && worker_is[1] == alive -> suspects = false; w = 1
#endif
            fi;
#ifdef FOREVER
            last = w
#endif
        }
        do                      // the recovery, cell by cell
        :: atomic {
                cell < LANES && owner(control[cell]) == w ->
                seen = control[cell]
            }
            atomic {            // compare-and-swap
                if
                :: state(seen) == running && control[cell] == seen ->
#ifdef NO_POISON
                    control[cell] = word(ready, 0, 0, lap(seen))
#else
                    if
                    :: attempt(seen) + 1 == K ->
                        ends(cell);
                        control[cell] = word(poisoned, 0, 0, lap(seen))
                    :: else ->
                        control[cell] = word(ready, 0, attempt(seen) + 1,
                            lap(seen))
                    fi
#endif
                :: else ->      // revoked before we looked, or just now
#if !defined(UNFENCED) && !defined(EARLY_REUSE)
                    assert(state(control[cell]) == revoked &&
                        owner(control[cell]) == w);
#endif
                    control[cell] = word(revoked, 0, 0, lap(control[cell]))
                fi;
                seen = 0;
                cell++
            }
        :: atomic { cell < LANES && owner(control[cell]) != w -> cell++ }
        :: atomic { cell == LANES -> cell = 0; break }
        od;
        if
        :: atomic {
                worker_is[w] == dead ->
                worker_is[w] = alive;
                start_worker[w]!0
            }
        :: worker_is[w] == alive        // never, unless unfenced
        fi;
        w = 0

    // The lane of a dead submitter serves another when all in it is over.
    :: atomic {
            submitter_is[0] == dead &&
            (final(control[0]) || state(control[0]) == free) ->
            give_back(0);
            submitter_is[0] = alive;
            start_submitter[0]!0
        }
    :: atomic {
            submitter_is[1] == dead &&
            (final(control[1]) || state(control[1]) == free) ->
            give_back(1);
            submitter_is[1] = alive;
            start_submitter[1]!0
        }

    // Suspected to hang, or no longer wanted: is killed first of all.
    :: atomic {
            worker_is[1] == alive && serves(1) &&
            (must_die(1, 0) || must_die(1, 1)) ->
            kill(1)
        }
    :: atomic {
            worker_is[2] == alive && serves(2) &&
            (must_die(2, 0) || must_die(2, 1)) ->
            kill(2)
        }
    od
}

// --- misfortune ------------------------------------------------------------

active proctype misfortune()
{
    byte workers = WORKER_DEATHS, submitters = SUBMITTER_DEATHS;
end_idle:
    do
    :: atomic {
            workers > 0 && worker_is[1] == alive -> workers--; kill(1)
        }
    :: atomic {
            workers > 0 && worker_is[2] == alive -> workers--; kill(2)
        }
    :: atomic {
            submitters > 0 && submitter_is[0] == alive -> submitters--;
            submitter_is[0] = dead;
            kill_submitter[0]!0
        }
    :: atomic {
            submitters > 0 && submitter_is[1] == alive -> submitters--;
            submitter_is[1] = dead;
            kill_submitter[1]!0
        }
#ifdef LIVENESS
    :: workers >= 0             // it may strike, but it need not
#endif
    od
}

// --- what must become true -------------------------------------------------

// Without this property Spin looks for assertions that fail and for states
// that nothing leads out of although somebody is not done (in them a task is
// lost, or a process waits for ever).
#ifdef LIVENESS
ltl every_accepted_task_ends { ([]<> !pending[0]) && ([]<> !pending[1]) }
#endif
