package talk

import "time"

// size of the ring in samples: a power of two, well above what maxHeld lets wait.
const (
	size = 1 << 13
	mask = size - 1
)

// state of a jitter buffer.
type state int

const (
	idle    state = iota // the talker makes a pause: nothing is played
	waiting              // the first packet after a pause is there, stragglers are waited for
	playing
)

// jitter puts packets in order by their timestamps and gives out sound at an
// even pace. A position counts samples, as timestamps do, but never wraps.
type jitter struct {
	ring  [size]int16
	have  [size]bool // there is sound, which was not given out yet
	state state
	next  int64     // position of what is given out next
	end   int64     // behind the newest sample
	begin time.Time // waiting: when playing begins
	delay delay
	patch patch
	count *Stats

	sequence uint16 // of the packet put in last
	follow   int64  // position behind it
	overdue  int    // packets in a row that came too late
}

func newJitter(count *Stats) *jitter {
	return &jitter{count: count, delay: delay{target: minDelay}}
}

// put takes a packet in; true: it ended a pause.
func (j *jitter) put(p *Packet, now time.Time) (woke bool) {
	n := int64(len(p.Payload))
	at := j.place(p)
	if off := at - j.next; j.state == idle || off < -size/2 || off+n > size {
		at = j.restart(p, now)
		woke = true
	}
	j.delay.note(now, at)
	if j.state == waiting && at < j.next {
		j.next = at
	}
	if !j.fill(p, at) && j.missed(at+n) {
		at, woke = j.restart(p, now), true
		j.fill(p, at)
	}
	j.sequence, j.follow = p.Sequence, at+n
	j.end = max(j.end, at+n)
	j.skip()
	return woke
}

// place gives a packet its position. Senders that stamp by a clock wobble:
// packets that follow each other by number are joined without a seam.
func (j *jitter) place(p *Packet) int64 {
	at := j.end + int64(int32(p.Timestamp-uint32(j.end)))
	if off := at - j.follow; p.Sequence == j.sequence+1 && off < samples(slack) && off > -samples(slack) {
		return j.follow
	}
	return at
}

// restart begins anew with p, after a pause or where its timestamps leap.
func (j *jitter) restart(p *Packet, now time.Time) int64 {
	at := int64(p.Timestamp)
	clear(j.have[:])
	j.state, j.next, j.end = waiting, at, at
	j.begin = now.Add(j.delay.target)
	j.delay.restart(now, at)
	return at
}

// missed counts a packet that came too late. If all do, whose sound is none that
// newer ones have overtaken, then the sender stood still for a moment, or the way
// has become longer: it is time to begin anew.
func (j *jitter) missed(end int64) bool {
	if end > j.end {
		j.overdue++
	}
	if j.overdue >= patience {
		return true
	}
	j.count.Late++
	return false
}

// fill copies what is new and not too late; false: nothing was.
func (j *jitter) fill(p *Packet, at int64) (fresh bool) {
	table := &mulaw
	if p.Codec == pcma {
		table = &alaw
	}
	for i, b := range p.Payload {
		if q := at + int64(i); q >= j.next && !j.have[q&mask] {
			j.ring[q&mask], j.have[q&mask], fresh = table[b], true, true
		}
	}
	if fresh {
		j.overdue = 0
	}
	return fresh
}

// skip gives up the oldest sound when too much waits.
func (j *jitter) skip() {
	if j.end-j.next <= samples(maxHeld) {
		return
	}
	to := j.end - samples(j.delay.target)
	for ; j.next < to; j.next++ {
		if j.have[j.next&mask] {
			j.have[j.next&mask] = false
			j.count.Skipped++
		}
	}
	j.patch.tear()
}

// over tells that the talker has made a pause, or that all has been played.
func (j *jitter) over(ending bool) bool {
	limit := quiet
	if ending {
		limit = fadeTime
	}
	return j.state == idle || j.next >= j.end+samples(limit)
}

// frame gives out the next frame of 20 ms of the speaker's time. It has some
// samples more or less, inaudibly, while what waits is too much or too little.
func (j *jitter) frame(now time.Time, to []int16) []int16 {
	off := j.delay.of(now, j.next) - j.delay.target
	n := int(samples(frameTime)) + min(max(int(off/slack), -stretch), stretch)
	missing := samples(-off) // may be made up without a loss: more is to come
	to = to[:0]
	for range n {
		to = append(to, j.sample(&missing))
	}
	return to
}

func (j *jitter) sample(missing *int64) int16 {
	i := j.next & mask
	if j.have[i] {
		j.have[i] = false
		j.next++
		return j.patch.sound(j.ring[i])
	}
	if j.next < j.end {
		j.count.Lost++
	}
	if *missing > 0 {
		*missing--
	} else {
		j.next++
	}
	return j.patch.make()
}
