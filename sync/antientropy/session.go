package antientropy

import (
	"errors"
	"io"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// phase is how far a session is.
type phase uint8

const (
	opening   phase = iota // initiator: no stream yet
	greeting               // digests and vectors
	agreed                 // digests were equal: only the ends of the stream are left
	streaming              // answers in both directions
	refusing               // Busy is on its way; no part of the peer's books
)

// session is one stream with a peer. In either direction it says what the other
// lacks; the two directions are independent once both vectors are known.
type session struct {
	id        SessionID
	peer      *peer
	initiator bool
	digests   bool // the initiator's first frame is a Digest
	phase     phase
	started   time.Time
	progress  time.Time // when a frame last moved in either direction

	// mine is the vector that decides, with the peer's, what is asked: a
	// snapshot from before our first frame.
	mine *versions.Vector
	// theirs is the digest of the applied part of the peer's vector.
	theirs [32]byte

	// Answers to the peer. At most one Fetch is under way.
	walk       *walk
	batch      []changeset.ID // what the Fetch under way has still to do
	absent     sets           // not in our log, not yet said
	vectorSent bool
	doneSent   bool // Done or, in phase agreed, the Digest; CloseSend follows
	flushed    bool // our direction has ended
	// sendErr is why it broke off. The session goes on until the peer's direction
	// ends: what it has said, a Busy perhaps, is worth more than this.
	sendErr error

	// Answers of the peer.
	pending  pending // asked and not answered
	got      []changeset.Sealed
	gotBytes int
	// applying: a batch is with the store; its changesets and bytes count
	// against the depth.
	applying      bool
	applyingCount int
	applyingBytes int
	doneReceived  bool
	reading       bool // a Read is outstanding
	ended         bool // the peer's direction has ended

	moved    bool // a changeset went either way
	unserved sets // not in the peer's log
}

func (m *Machine) opened(now time.Time, s *session) {
	if s.phase != opening {
		return
	}
	s.phase, s.progress = greeting, now
	s.mine = m.cfg.Vector()
	if s.digests {
		m.emit(Send{s.id, Digest(s.mine.FullDigest())})
	} else {
		m.sendVector(s)
	}
	m.read(s)
}

func (m *Machine) sendVector(s *session) {
	if !s.vectorSent {
		s.vectorSent = true
		m.emit(Send{s.id, Vector{s.mine}})
	}
}

func (m *Machine) received(now time.Time, s *session, msg Message) {
	if !s.reading {
		return
	}
	s.reading, s.progress = false, now
	var err error
	switch msg := msg.(type) {
	case Part:
	case Digest:
		err = m.receivedDigest(s, msg)
	case Vector:
		err = m.receivedVector(now, s, msg.Vector)
	case Changeset:
		err = m.receivedChangeset(s, msg.Sealed)
	case NotInLog:
		err = m.receivedNotInLog(s, msg)
	case Done:
		err = s.receivedDone()
	case Busy:
		if s.initiator && s.phase == greeting {
			m.busy(now, s)
			return
		}
		err = fault("Busy out of place")
	}
	if err != nil {
		m.fail(now, s, err)
		return
	}
	m.advance(now, s)
}

// receivedDigest takes the peer's digest: as responder we compare it, as
// initiator we hear that ours was equal.
func (m *Machine) receivedDigest(s *session, d Digest) error {
	switch {
	case s.phase != greeting || s.vectorSent || s.initiator != s.digests:
		return fault("Digest out of place")
	case s.initiator && d != s.mine.FullDigest():
		return fault("Digest answered with another one")
	case !s.initiator:
		s.mine = m.cfg.Vector()
		if d != s.mine.FullDigest() {
			m.sendVector(s)
			return nil
		}
		m.emit(Send{s.id, d})
	}
	m.emit(Hear{s.peer.actor, s.mine})
	s.phase, s.doneSent = agreed, true
	m.emit(CloseSend{s.id})
	return nil
}

func (m *Machine) receivedVector(now time.Time, s *session, theirs *versions.Vector) error {
	if s.phase != greeting {
		return fault("Vector out of place")
	}
	if s.mine == nil {
		s.mine = m.cfg.Vector()
	}
	m.sendVector(s)
	m.emit(Hear{s.peer.actor, theirs})
	s.phase, s.theirs = streaming, theirs.Digest()
	s.pending = newPending(versions.Missing(s.mine, theirs))
	s.unserved = sets{}
	fetch, absent := m.splitAbsent(now, versions.Missing(theirs, s.mine))
	s.walk, s.absent = newWalk(fetch), absent
	m.answer(s)
	return nil
}

func (m *Machine) receivedChangeset(s *session, c changeset.Sealed) error {
	id := c.ID()
	if s.phase != streaming || !s.pending.cut(id.Actor, versions.Range{First: id.Version, Last: id.Version}) {
		return fault("changeset that was not asked for")
	}
	s.moved = true
	m.stats.Received++
	if m.cfg.Vector().Holds(id) {
		m.stats.Duplicate++
		return nil
	}
	s.got = append(s.got, c)
	s.gotBytes += len(c.Data)
	return nil
}

func (m *Machine) receivedNotInLog(s *session, n NotInLog) error {
	for _, need := range n {
		for _, r := range need.Ranges {
			if s.phase != streaming || !s.pending.cut(need.Actor, r) {
				return fault("NotInLog for what was not asked for")
			}
		}
		m.stats.NotInLogReceived += uint64(len(need.Ranges))
		s.unserved[need.Actor] = s.unserved[need.Actor].Union(versions.SetOf(need.Ranges...))
	}
	return nil
}

func (s *session) receivedDone() error {
	switch {
	case s.phase != streaming || s.doneReceived:
		return fault("Done out of place")
	case len(s.pending) > 0:
		return fault("Done before all was answered")
	}
	s.doneReceived = true
	return nil
}

// answer goes on with what the peer asked for, unless a Fetch is under way.
func (m *Machine) answer(s *session) {
	if len(s.batch) > 0 || s.doneSent {
		return
	}
	s.batch = s.walk.next(BatchCount)
	if len(s.absent) > 0 && (len(s.batch) == 0 || s.absent.count() >= AbsentFlush) {
		needs, ranges := s.absent.needs()
		m.stats.NotInLogSent += uint64(ranges)
		m.emit(Send{s.id, NotInLog(needs)})
		s.absent = sets{}
	}
	if len(s.batch) > 0 {
		m.emit(Fetch{s.id, s.batch})
		return
	}
	s.doneSent = true
	m.emit(Send{s.id, Done{}})
	m.emit(CloseSend{s.id})
}

func (m *Machine) fetched(now time.Time, s *session, e Fetched) {
	count := min(e.Count, len(s.batch))
	if count == 0 {
		return
	}
	s.progress = now
	s.batch = s.batch[count:]
	if sent := count - len(e.Absent); sent > 0 {
		s.moved = true
		m.stats.Sent += uint64(sent)
	}
	for _, id := range e.Absent {
		s.absent.add(id.Actor, versions.Range{First: id.Version, Last: id.Version})
	}
	m.noteAbsent(now, e.Absent)
	if len(s.batch) > 0 {
		m.emit(Fetch{s.id, s.batch})
		return
	}
	m.answer(s)
}

func (m *Machine) flushed(now time.Time, s *session) {
	s.flushed, s.progress = true, now
	if s.phase == refusing {
		m.end(now, s, CodeNone, nil)
		return
	}
	m.advance(now, s)
}

func (m *Machine) sendFailed(now time.Time, s *session, err error) {
	s.sendErr = err
	if s.ended || s.phase == refusing {
		m.fail(now, s, err)
	}
}

func (m *Machine) applied(now time.Time, s *session, err error) {
	s.applying, s.applyingCount, s.applyingBytes, s.progress = false, 0, 0, now
	if err != nil {
		m.fail(now, s, classify(err))
		return
	}
	m.advance(now, s)
}

// classify turns a store's refusal of bytes into the fault of who sent them.
func classify(err error) error {
	for _, class := range []error{changeset.ErrTruncated, changeset.ErrCorrupt, changeset.ErrTooLarge, changeset.ErrUnsupported} {
		if errors.Is(err, class) {
			return &PeerFault{Reason: "changeset that does not apply", Err: err}
		}
	}
	return err
}

func (m *Machine) ended(now time.Time, s *session, err error) {
	if !s.reading {
		return
	}
	s.reading, s.progress = false, now
	switch {
	case s.sendErr != nil:
		m.fail(now, s, s.sendErr)
	case s.phase == agreed || s.doneReceived:
		s.ended = true // also if the link broke: all was said
		m.advance(now, s)
	case errors.Is(err, io.EOF):
		m.fail(now, s, ErrCut)
	default:
		m.fail(now, s, err)
	}
}

// advance does what the state of a session allows: hand a batch to the store,
// read on, or end well.
func (m *Machine) advance(now time.Time, s *session) {
	if !s.applying && len(s.got) > 0 {
		m.apply(s)
	}
	depth := len(s.got) + s.applyingCount
	if !s.ended && depth < DepthCount && s.gotBytes+s.applyingBytes < DepthBytes {
		m.read(s)
	}
	if s.ended && s.flushed && !s.applying {
		m.done(now, s)
	}
}

func (m *Machine) read(s *session) {
	if !s.reading {
		s.reading = true
		m.emit(Read{s.id})
	}
}

// apply hands over the oldest changesets received, as many as a batch holds.
func (m *Machine) apply(s *session) {
	n, size := 0, 0
	for n < len(s.got) && n < BatchCount && size < BatchBytes {
		size += len(s.got[n].Data)
		n++
	}
	batch := s.got[:n:n]
	if s.got = s.got[n:]; len(s.got) == 0 {
		s.got = nil // the batch owns the array
	}
	s.gotBytes -= size
	s.applying, s.applyingCount, s.applyingBytes = true, n, size
	m.emit(Apply{s.id, batch})
}

// done ends a session well and remembers what it settled.
func (m *Machine) done(now time.Time, s *session) {
	p := s.peer
	p.failures, p.notBefore, p.faulted = 0, time.Time{}, false
	p.due = time.Time{} // this session was what was wanted
	if s.phase == agreed {
		m.stats.Equal++
	} else {
		m.stats.Completed++
		m.setUnserved(p, s.unserved)
		p.settled = settled{mine: s.mine.Digest(), theirs: s.theirs, valid: true}
		if s.moved {
			p.settled.until = now.Add(SettleFor)
		}
	}
	m.end(now, s, CodeNone, nil)
}

// setUnserved replaces what p's last session left unserved; what has more than
// MaxAbsentRanges ranges is not remembered.
func (m *Machine) setUnserved(p *peer, unserved sets) {
	if _, ranges := unserved.needs(); ranges > MaxAbsentRanges {
		unserved = nil
	}
	if len(unserved) == 0 && len(p.unserved) == 0 {
		return
	}
	m.unservedRevision++
	m.stats.Unserved -= p.unserved.count()
	p.unserved = unserved
	m.stats.Unserved += p.unserved.count()
}

// busy ends a session that the peer refused. It is wanted again, unless the
// peer's own session does its work meanwhile.
func (m *Machine) busy(now time.Time, s *session) {
	m.stats.Busy++
	m.want(now, s.peer, now.Add(m.jitter(BusyDelay, BusyDelay/4)), s.digests)
	m.end(now, s, CodeBusy, ErrBusy)
}

// fail ends a session badly.
func (m *Machine) fail(now time.Time, s *session, err error) {
	if s.phase == refusing {
		m.end(now, s, CodeBusy, ErrBusy) // its initiator has perhaps given it up
		return
	}
	code := CodeInternal
	var f *PeerFault
	switch {
	case errors.As(err, &f):
		code = CodeFault
		m.stats.Faults++
	case errors.Is(err, ErrIdle), errors.Is(err, ErrTooLong):
		code = CodeIdle
		m.stats.Idle++
	}
	m.stats.Failed++
	s.peer.faulted = f != nil
	m.backOff(now, s.peer)
	m.end(now, s, code, err)
}
