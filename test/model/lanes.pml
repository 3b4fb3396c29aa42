// Copyright 2026 The Authors.
// Distributed under the Boost Software License, Version 1.0.
//
// The protocol of common/ring.hpp, common/lanes.hpp and common/lane_ends.hpp,
// for the model checker Spin: a stream of records from writers to readers, any
// of which may die.  README.md here says what is proven and what is not.
//
// A record has a number, and a slot that others had before it.  One word of
// the slot decides everything:
//
//   done       -> ready(0)      the writer, the bytes are written
//   ready(a)   -> leased(c, a)  reader c
//   leased     -> done          reader c: ACKNOWLEDGED
//   ready(0)   -> done          a reader that has made a copy before: the same
//   leased     -> ready(a+1)    reader c gives it back; or the supervisor, after
//                 dead          c was reaped or took too long; dead when a+1 = K
//   dead       -> done          the supervisor has taken a copy: BURIED
//
// Each lane has one writer and a word `freed`: all records before it are done.
// Two readers, one supervisor, and misfortune, which kills any writer or
// reader between any two steps.  A step is one `atomic` or one statement: what
// one process does to the shared memory at one instant.
//
// A check that cannot fail proves nothing: each protocol below that lacks one
// rule has to be refuted, with the error that is named after it.
//
// Nothing lost, doubled or torn, nothing overwritten too early, nobody stuck:
// verify: -DITEMS=3 | -DSAFETY -DNOREDUCE | -m100000 -w22
//
// A control word without a lap:
// refute: -DNO_LAP | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated ((over
// A record is free as soon as it is leased:
// refute: -DFREE_LEASED | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated (over
// The control words lie among the bytes:
// refute: -DIN_BYTES | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated (at
// A lease can be taken away, but is acknowledged by a plain store:
// refute: -DPLAIN_DONE -DLATE=1 | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated ((over
// A copy counts without a look whether the record is still there:
// refute: -DPLAIN_COPY | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated ((number
// Who frees does not look again, and a writer without room does not help:
// refute: -DNO_SECOND_LOOK -DNO_HELP | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated has_finished
// The supervisor does not free what a dead reader had acknowledged, and a
// writer without room does not help:
// refute: -DNO_ADVANCE -DNO_HELP | -DSAFETY -DNOREDUCE | -m100000 -w22
//   says: assertion violated has_finished
#ifndef LANES
#define LANES 1
#endif
#ifndef ITEMS
#define ITEMS 4                 // of the first lane
#endif
#ifndef OTHER_ITEMS
#define OTHER_ITEMS 1           // of the second
#endif
#ifndef READER_DEATHS
#define READER_DEATHS 1
#endif
#ifndef WRITER_DEATHS
#define WRITER_DEATHS 1
#endif
#ifndef GIVES
#define GIVES 0                 // by living readers
#endif
#ifndef LATE
#define LATE 0                  // taken from living readers
#endif
#define SLOTS 2                 // of a lane: a power of two
#ifdef IN_BYTES
#define ROOM 1                  // what stands behind the last record is free
#else
#define ROOM SLOTS
#endif
#define READERS 2               // seats 1 and 2
#define K 2                     // attempts of a record

// --- the ring --------------------------------------------------------------

#define done   0
#define ready  1
#define leased 2
#define dead   3

#define word(state, owner, attempt, lap) \
    ((state) << 6 | (owner) << 4 | (attempt) << 3 | (lap))
#define state(w)   ((w) >> 6)
#define owner(w)   ((w) >> 4 & 3)       // 0 is nobody
#define attempt(w) ((w) >> 3 & 1)
#define lap(w)     ((w) & 7)            // 0: nobody has had the slot yet

#define slot(lane, number) ((lane) * SLOTS + (number) % SLOTS)
#define lap_of(number)     ((number) / SLOTS + 1)
#define is_there(lane, number) \
    (lap(control[slot(lane, number)]) == lap_of(number))

#ifdef NO_LAP
#define same(a, b) ((a) >> 3 == (b) >> 3)
#else
#define same(a, b) ((a) == (b))
#endif

#ifdef FREE_LEASED
#define is_over(w) (state(w) == done || state(w) == leased)
#else
#define is_over(w) (state(w) == done)
#endif

byte control[LANES * SLOTS];
byte bytes[LANES * SLOTS];      // that the slot names: number + 1 of a record
byte freed[LANES], hint[LANES];

// `returned` counts up; all that a reader asks is whether it has done so since
// he looked last.
bool returned[READERS * LANES];
#define has_returned(seat, lane) returned[((seat) - 1) * LANES + (lane)]
inline count_returned(lane)
{
    has_returned(1, lane) = true;
    has_returned(2, lane) = true
}

// The word on which the writer sleeps (event_count.pml): its bit, and whether
// it has moved on since the writer set the bit.
bool awaited[LANES], moved_on[LANES];

// --- life and death --------------------------------------------------------

// The supervisor knows the death of a reader from the kernel, which tells it
// some time after (here: whenever the supervisor comes to look), and never
// tells a lie.
#define gone     0
#define alive    1

byte reader_is[READERS + 1] = alive;
byte gives = GIVES, late = LATE;
bool has_finished[LANES];       // the writer: all is written
chan kill_reader[READERS + 1] = [0] of { bit };
chan kill_writer[LANES] = [0] of { bit };

// --- what only the observer knows ------------------------------------------

byte published[LANES];          // so many records
byte delivered[LANES];          // so many of them at least once
byte over[LANES];               // acknowledged or dead: a bit for each

#if LANES == 2
#define items(lane) ((lane) == 0 -> ITEMS : OTHER_ITEMS)
#else
#define items(lane) ITEMS
#endif

inline ends(lane, number)       // once
{
    assert((over[lane] & 1 << (number)) == 0);
    over[lane] = over[lane] | 1 << (number)
}

// --- what any process does --------------------------------------------------

// Frees what is over at the front.
inline advance(lane)
{
    atomic { from = freed[lane]; to = from }
    do
    :: atomic {
            is_there(lane, to) && is_over(control[slot(lane, to)]) -> to++
        }
    :: atomic {
            else ->
            if
            :: to == from -> from = 0; to = 0; break
            :: else
            fi
        }
        if
        :: atomic {             // compare-and-swap
                freed[lane] == from ->
#ifndef FREE_LEASED
                assert((over[lane] & (1 << to) - 1) == (1 << to) - 1);
#endif
                freed[lane] = to;
                from = to
            }
            atomic {
                if
                :: awaited[lane] ->
                    awaited[lane] = false; moved_on[lane] = true
                :: else
                fi
#ifdef NO_SECOND_LOOK
                ;
                from = 0; to = 0; break
#endif
            }
        :: atomic { else -> from = freed[lane]; to = from }
        fi
    od
}

// Makes a leased record ready again, or dead.  Its word must still be `held`.
inline give_back(lane, number)
{
#ifdef COUNT_FIRST
    atomic { count_returned(lane) }
#endif
    atomic {                    // compare-and-swap
        if
        :: same(control[slot(lane, number)], held) ->
            is_given = true;
            if
            :: attempt(held) + 1 == K ->
                ends(lane, number);
                control[slot(lane, number)] =
                    word(dead, 0, 0, lap_of(number))
            :: else ->
                control[slot(lane, number)] =
                    word(ready, 0, attempt(held) + 1, lap_of(number))
            fi
        :: else
        fi;
        held = 0
    }
    atomic {
        if
#if !defined(COUNT_FIRST) && !defined(NO_COUNT)
        :: is_given -> is_given = false; count_returned(lane)
#endif
        :: else -> is_given = false
        fi
    }
}

// --- the writers -----------------------------------------------------------

#define me _pid

active [LANES] proctype writer()
{
    byte next, seen;            // of `freed`
    byte from, to;
    bool sleepy;
start:
    {
        atomic { seen = freed[me]; next = seen }
        do                      // behind the last that was published
        :: atomic { is_there(me, next) -> next++ }
        :: atomic { else -> break }
        od;
        assert(next == published[me]);

        do
        :: atomic {
                next < items(me) && next - seen < ROOM ->
                sleepy = false;
#ifndef FREE_LEASED             // there the harm itself is to be seen
                assert(state(control[slot(me, next)]) == done);
#endif
                bytes[slot(me, next)] = next + 1;
#ifdef IN_BYTES
                if              // what happens to stand behind
                :: control[slot(me, next + 1)] =
                    word(ready, 0, 0, lap_of(next + 1))
                :: control[slot(me, next + 1)] =
                    word(ready, 0, 0, lap_of(next + 1) - 1)
                fi
#endif
            }
#ifdef CLEARED
            control[slot(me, next + 1)] = 0;
#endif
            atomic {            // one exchange: it is published
                assert(next == published[me] && !is_there(me, next));
                control[slot(me, next)] = word(ready, 0, 0, lap_of(next));
                next++;
                published[me] = next
            }
        :: atomic { next < items(me) && next - seen >= ROOM ->
                seen = freed[me]
            }
            if
            :: next - seen < ROOM
            :: else ->          // helps itself, and again before it sleeps
#ifndef NO_HELP
                advance(me);
#endif
                atomic { seen = freed[me] }
                if
                :: next - seen < ROOM
                :: else ->
                    if
                    :: sleepy -> moved_on[me]
                    :: else -> sleepy = true
                    fi;
                    atomic { awaited[me] = true; moved_on[me] = false }
                fi
            fi
        :: atomic { next == items(me) -> has_finished[me] = true; break }
        od;
end_finished:
        false
    } unless {
        atomic {
            kill_writer[me]?_ ->
            next = 0; seen = 0; from = 0; to = 0; sleepy = false;
            moved_on[me] = false
        }
    };
    goto start                  // as another process, which knows nothing
}

// --- the readers -----------------------------------------------------------

#undef me
#define me (_pid - LANES + 1)

// There is something behind the reader's cursor, or before it: he does not
// sleep, or is woken.
#define is_worth_a_look(lane) (has_returned(me, lane) || \
    lap(control[slot(lane, at[lane])]) >= lap_of(at[lane]))

active [READERS] proctype reader()
{
    byte at[LANES];             // where he looks next
    bool all[LANES];            // looks at each record, not from the hint on
    byte lane, number, held, from, to;
    bool is_torn, is_given;
start:
    {
        reader_is[me] == alive;
        do                      // another process, which knows nothing
        :: atomic { lane < LANES -> at[lane] = freed[lane]; all[lane] = true }
            atomic { has_returned(me, lane) = false; lane++ }
        :: atomic { else -> lane = 0; break }
        od;

idle:
        atomic {
            number = 0; held = 0; is_torn = false; is_given = false; lane = 0;
end_idle:
            if
            :: is_worth_a_look(0)
#if LANES == 2
            :: is_worth_a_look(1) -> lane = 1
#endif
            fi
        }
        if
        :: atomic {
                has_returned(me, lane) -> has_returned(me, lane) = false
            }
            atomic { at[lane] = freed[lane]; all[lane] = true }
        :: else
        fi;
        atomic {
            if
            :: !all[lane] && hint[lane] > at[lane] -> at[lane] = hint[lane]
            :: else
            fi
        }
look:
        atomic {
            if
            :: is_there(lane, at[lane]) &&
               state(control[slot(lane, at[lane])]) == ready ->
                held = control[slot(lane, at[lane])];
                if
                :: goto lease
                :: attempt(held) == 0 -> goto copy
                fi
            :: is_there(lane, at[lane]) &&
               state(control[slot(lane, at[lane])]) != ready ->
                at[lane]++;
                goto look
            :: !is_there(lane, at[lane])
            fi
        }
        atomic {                // nothing there yet; or long gone
            if
            :: freed[lane] > at[lane] -> at[lane] = freed[lane]; goto look
            :: else -> all[lane] = false; goto idle
            fi
        }
copy:
        atomic { is_torn = bytes[slot(lane, at[lane])] != at[lane] + 1 }
        atomic {                // compare-and-swap
            if
#ifdef PLAIN_COPY
            :: true ->
#else
            :: same(control[slot(lane, at[lane])], held) ->
#endif
                assert(!is_torn);
                number = at[lane];
                held = 0;
                assert(number == delivered[lane] && number < published[lane]);
                delivered[lane] = number + 1;
                ends(lane, number);
                control[slot(lane, number)] = word(done, 0, 0, lap_of(number));
                at[lane]++;
                if
                :: all[lane] -> goto free
                :: else
                fi
            :: else -> held = 0; is_torn = false; goto look
            fi
        }
        hint[lane] = at[lane];
        goto free;
lease:
        atomic {                // compare-and-swap
            if
            :: same(control[slot(lane, at[lane])], held) ->
                assert(at[lane] < published[lane]);
                number = at[lane];
                held = word(leased, me, attempt(held), lap_of(number));
                control[slot(lane, number)] = held;
                assert((over[lane] & 1 << number) == 0);
                if
                :: attempt(held) == 0 ->
                    assert(number == delivered[lane]);
                    delivered[lane] = number + 1
                :: else -> assert(number < delivered[lane])
                fi;
                at[lane]++;
                if
                :: all[lane] -> goto read
                :: else
                fi
            :: else -> held = 0; goto look
            fi
        }
        hint[lane] = at[lane];
read:
        atomic {
            is_torn = bytes[slot(lane, number)] != number + 1;
            assert(!is_torn || control[slot(lane, number)] != held)
        }
        if
        :: atomic {             // compare-and-swap
                if
#ifdef PLAIN_DONE
                :: true ->
#else
                :: same(control[slot(lane, number)], held) ->
#endif
                    assert(!is_torn);
                    ends(lane, number);
                    control[slot(lane, number)] =
                        word(done, 0, 0, lap_of(number));
                    held = 0
                :: else -> goto idle    // it is not his any more
                fi
            }
        :: atomic { gives > 0 -> gives-- }
            give_back(lane, number);
            goto idle
        fi;
free:
        atomic {                // now and then, or when the writer sleeps
            if
#ifndef NO_LOOK
            :: awaited[lane] || number % 2 == 1 -> number = 0
#else
            :: number % 2 == 1 -> number = 0
#endif
            :: else -> goto idle
            fi
        }
        advance(lane);
        goto idle
    } unless {
        atomic {
            kill_reader[me]?_ ->
            at[0] = 0; all[0] = false;
#if LANES == 2
            at[1] = 0; all[1] = false;
#endif
            lane = 0; number = 0; held = 0; from = 0; to = 0;
            is_torn = false; is_given = false
        }
    };
    goto start
}

// --- the supervisor --------------------------------------------------------

#undef me

#define is_dead_in(lane, number) (is_there(lane, number) && \
    state(control[slot(lane, number)]) == dead)

// Somebody's lease has run out, or so the supervisor believes.
inline suspect(a_lane, a_slot)
{
    atomic {
        late > 0 && state(control[(a_lane) * SLOTS + a_slot]) == leased ->
        late--;
        lane = a_lane;
        held = control[(a_lane) * SLOTS + a_slot];
        at = (lap(held) - 1) * SLOTS + a_slot
    }
}

active proctype supervisor()
{
    byte seat, lane, first, at, held, from, to;
    bool is_given;
#ifdef UNFENCED
    bool suspects = true;
#endif
end_idle:
    do
    :: atomic {
            if
            :: reader_is[1] == gone -> seat = 1
            :: reader_is[2] == gone -> seat = 2
#ifdef UNFENCED
            :: suspects && reader_is[1] == alive -> suspects = false; seat = 1
#endif
            fi
        }
        do                      // the recovery, lane by lane
        :: atomic { lane < LANES -> first = freed[lane]; at = first }
            do
            :: atomic {
                    at - first < SLOTS && is_there(lane, at) &&
                    state(control[slot(lane, at)]) == leased &&
                    owner(control[slot(lane, at)]) == seat ->
                    held = control[slot(lane, at)]
                }
                give_back(lane, at)
            :: atomic {
                    at - first < SLOTS && is_there(lane, at) &&
                    (state(control[slot(lane, at)]) != leased ||
                     owner(control[slot(lane, at)]) != seat) -> at++
                }
            :: atomic { at - first < SLOTS && !is_there(lane, at) -> skip }
                atomic {        // behind the last one, or freed meanwhile
                    if
                    :: freed[lane] > at -> at++
                    :: else -> break
                    fi
                }
            :: atomic { at - first >= SLOTS -> break }
            od;
            atomic {            // he may have died before he counted
                first = 0; at = 0;
#if !defined(NO_COUNT) && !defined(NO_LAST_COUNT)
                count_returned(lane)
#endif
            }
#ifndef NO_ADVANCE
            advance(lane);
#endif
            atomic {            // wakes even who seems not to sleep
                if
                :: awaited[lane] -> moved_on[lane] = true
                :: else
                fi;
                lane++
            }
        :: atomic { lane == LANES -> lane = 0; break }
        od;
        atomic { reader_is[seat] = alive; seat = 0 }

    :: atomic {                 // takes a dead record out
            if
            :: is_dead_in(0, freed[0]) -> lane = 0; at = freed[0]
            :: is_dead_in(0, freed[0] + 1) -> lane = 0; at = freed[0] + 1
#if LANES == 2
            :: is_dead_in(1, freed[1]) -> lane = 1; at = freed[1]
            :: is_dead_in(1, freed[1] + 1) -> lane = 1; at = freed[1] + 1
#endif
            fi;
            assert(bytes[slot(lane, at)] == at + 1);
            control[slot(lane, at)] = word(done, 0, 0, lap_of(at));
            at = 0
        }
        advance(lane);
        lane = 0

    :: if
        :: suspect(0, 0)
        :: suspect(0, 1)
        fi;
        give_back(lane, at);
        atomic { at = 0; lane = 0 }
    od
}

// --- misfortune ------------------------------------------------------------

active proctype misfortune()
{
    byte readers = READER_DEATHS, writers = WRITER_DEATHS;
end_idle:
    do
    :: atomic {
            readers > 0 && reader_is[1] == alive -> readers--;
            reader_is[1] = gone;
            kill_reader[1]!0
        }
#if READER_DEATHS > 1           // else it is all the same which one dies
    :: atomic {
            readers > 0 && reader_is[2] == alive -> readers--;
            reader_is[2] = gone;
            kill_reader[2]!0
        }
#endif
    :: atomic { writers > 0 -> writers--; kill_writer[0]!0 }
#if LANES == 2
    :: atomic { writers > 0 -> writers--; kill_writer[1]!0 }
#endif
    :: atomic { readers + writers > 0 -> readers = 0; writers = 0 }
    od
}

// --- what must become true -------------------------------------------------

// When nothing happens any more, all is written, and all is over.
active proctype observer()
{
end_:
    atomic {
        timeout ->
        assert(has_finished[0]);
        assert(over[0] == (1 << ITEMS) - 1);
#if LANES == 2
        assert(has_finished[1]);
        assert(over[1] == (1 << OTHER_ITEMS) - 1);
#endif
    }
}
