// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// How a record of common/ring.hpp grows until a reader takes it, and how a lane
// ends, for the model checker Spin.  What lanes.pml proves, that slots and
// bytes are not used too early again, is left out here: each record has a slot
// and bytes of its own.
//
//   absent   -> ready(1)      the writer: commit
//   ready(p) -> ready(p + 1)  the writer: commit_growth, the bytes are written
//   ready    -> leased        a reader
//   leased   -> done          that reader
//   leased   -> ready         the supervisor, after that reader was reaped; it
//                             was read before, and grows no more
//   absent   -> end           whoever closes: nothing is committed any more
//
// One writer, two readers, a supervisor, somebody who closes, and misfortune,
// which kills the writer and a reader between any two steps.  A step is one
// `atomic` or one statement.
//
// Each item whose push returned is delivered once, whole; no other one is:
// verify: | -DSAFETY -DNOREDUCE | -m100000 -w22
//
// Growth that is stored, whether a reader took the record or not:
// refute: -DPLAIN_GROWTH | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated
// A record that a reader has grows all the same:
// refute: -DGROWS_LEASED | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated
// A writer lets the record grow that a dead one had begun to let grow, behind
// the size that the slot tells:
// refute: -DINHERITS | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated
// An end that is stored over a record:
// refute: -DPLAIN_END | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated
// A record that is stored over the end:
// refute: -DPLAIN_COMMIT | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated
#define PUSHES  3
#define RECORDS 4               // the last one is for the end
#define CELLS   4               // of a record: an item each
#define PARTS   2               // the most that a record has
#define READERS 2

#define absent 0
#define ready  1
#define leased 2
#define done   3
#define end    4

#define word(state, owner, again, parts) \
    ((state) << 5 | (owner) << 3 | (again) << 2 | (parts))
#define state(w) ((w) >> 5)
#define owner(w) ((w) >> 3 & 3)
#define again(w) ((w) >> 2 & 1) // it was read before
#define parts(w) ((w) & 3)

byte control[RECORDS];
byte size[RECORDS];             // cells that the slot tells: the writer
byte cell[RECORDS * CELLS];     // the writer
bool closed;                    // who closes, when the end is there
bool has_finished;              // the writer

#define gone  0
#define alive 1
byte reader_is[READERS + 1] = alive;
chan kill_reader[READERS + 1] = [0] of { bit };
chan kill_writer = [0] of { bit };

// What only the observer knows: a bit for each item.
byte pushes, published, delivered;

active proctype writer()
{
    byte next, mine, item, before; // mine: cells of the last record that it
start:                             // has committed itself
    {
        do
        :: atomic {
                state(control[next]) != absent && state(control[next]) != end ->
                next++
            }
        :: atomic { else -> break }
        od;
#ifdef INHERITS
        atomic {
            if
            :: next > 0 -> mine = size[next - 1]
            :: else
            fi
        }
#endif
        do
        :: atomic { pushes < PUSHES && state(control[next]) != end ->
                pushes++;
                item = pushes
            }
            if                  // grow
            :: atomic {
                    mine != 0 &&
#ifdef GROWS_LEASED
                    state(control[next - 1]) != done &&
#else
                    state(control[next - 1]) == ready &&
#endif
                    !again(control[next - 1]) &&
                    parts(control[next - 1]) < PARTS ->
                    before = control[next - 1]
                }
                atomic {
                    size[next - 1] = mine + 1;
                    cell[(next - 1) * CELLS + mine] = item
                }
                atomic {        // compare-and-swap: commit_growth
                    if
#ifdef PLAIN_GROWTH
                    :: true ->
#else
                    :: control[next - 1] == before ->
#endif
                        control[next - 1] = before + 1;
                        mine++;
                        published = published | 1 << item;
                        item = 0
                    :: else     // a reader has it
                    fi;
                    before = 0
                }
            :: atomic { else }
            fi;
            if
            :: atomic { item != 0 && state(control[next]) != end ->
                    cell[next * CELLS] = item;
                    size[next] = 1
                }
                atomic {        // compare-and-swap: commit
                    if
#ifdef PLAIN_COMMIT
                    :: true ->
#else
                    :: control[next] == absent ->
#endif
                        control[next] = word(ready, 0, 0, 1);
                        mine = 1;
                        next++;
                        published = published | 1 << item
                    :: else     // it was closed: the push says so
                    fi;
                    item = 0
                }
            :: atomic { else -> item = 0 }
            fi
        :: atomic { pushes == PUSHES || state(control[next]) == end ->
                has_finished = true;
                break
            }
        od;
end_finished:
        false
    } unless {
        atomic {
            kill_writer?_ -> next = 0; mine = 0; item = 0; before = 0
        }
    };
    goto start                  // as another process, which knows nothing
}

#define is_ready(r) (state(control[r]) == ready)
#define is_of_another(r) (state(control[r]) == leased && owner(control[r]) != me)
#define may_come(r) (is_ready(r) || is_of_another(r))
#define me _pid                 // 1 and 2

active [READERS] proctype reader()
{
    byte at, held, items, k;
start:
    {
        reader_is[me] == alive;
idle:
        atomic {
            at = 0; held = 0; items = 0; k = 0;
end_idle:
            if
            :: is_ready(0)
            :: is_ready(1) -> at = 1
            :: is_ready(2) -> at = 2
            :: is_ready(3) -> at = 3
            :: closed && !may_come(0) && !may_come(1) && !may_come(2) &&
               !may_come(3) -> goto over
            fi;
            held = control[at]
        }
        atomic {                // compare-and-swap
            if
            :: control[at] == held ->
                held = word(leased, me, again(held), parts(held));
                control[at] = held
            :: else -> goto idle
            fi
        }
        atomic {                // reads in place
            do
            :: k < parts(held) ->
                assert(published & 1 << cell[at * CELLS + k]);
                items = items | 1 << cell[at * CELLS + k];
                k++
            :: else -> break
            od
        }
        atomic {                // compare-and-swap
            assert(control[at] == held);
            assert((delivered & items) == 0);
            control[at] = word(done, 0, 0, 0);
            delivered = delivered | items
        }
        goto idle;
over:
end_over:
        false
    } unless {
        atomic { kill_reader[me]?_ -> at = 0; held = 0; items = 0; k = 0 }
    };
    goto start
}
#undef me

active proctype supervisor()
{
    byte seat, at;
end_idle:
    do
    :: atomic {
            if
            :: reader_is[1] == gone -> seat = 1
            :: reader_is[2] == gone -> seat = 2
            fi
        }
        do
        :: atomic { at < RECORDS ->
                if
                :: state(control[at]) == leased && owner(control[at]) == seat ->
                    control[at] = word(ready, 0, 1, parts(control[at]))
                :: else
                fi;
                at++
            }
        :: atomic { at == RECORDS -> at = 0; break }
        od;
        atomic { reader_is[seat] = alive; seat = 0 }
    od
}

active proctype closer()
{
    byte at;
    do
    :: atomic { state(control[at]) != absent -> at++ }
    :: state(control[at]) == absent ->
        atomic {                // compare-and-swap
            if
#ifdef PLAIN_END
            :: true ->
#else
            :: control[at] == absent ->
#endif
                control[at] = word(end, 0, 0, 0); break
            :: else             // the writer was faster
            fi
        }
    od;
    closed = true
}

active proctype misfortune()
{
    bool readers = true, writers = true;
end_idle:
    do
    :: atomic {
            readers -> readers = false;
            reader_is[1] = gone;
            kill_reader[1]!0
        }
    :: atomic { writers -> writers = false; kill_writer!0 }
    :: atomic { readers || writers -> readers = false; writers = false }
    od
}

// When nothing happens any more, what was pushed has been delivered.
active proctype observer()
{
end_:
    atomic { timeout -> assert(has_finished && closed && delivered == published) }
}
