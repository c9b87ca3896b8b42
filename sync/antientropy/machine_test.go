package antientropy

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

func newTestMachine(vector *versions.Vector) *Machine {
	return NewMachine(MachineConfig{
		Self: actor(1), Vector: func() *versions.Vector { return vector }, Rand: rand.New(rand.NewPCG(1, 1)),
	}, epoch)
}

// inSession returns a machine whose session 1 with peer 2 has both vectors.
func inSession(t *testing.T, mine, theirs string) (*Machine, []Effect) {
	t.Helper()
	m := newTestMachine(parseVector([]string{mine}))
	m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
	return m, m.Handle(epoch, Received{1, Vector{parseVector([]string{theirs})}})
}

// answerAll answers each Fetch as not in the log and returns the number of
// versions and of NotInLog messages that say so, and the most fetched at once.
func answerAll(m *Machine, effects []Effect) (versions uint64, messages, most int) {
	for len(effects) > 0 {
		var next []Effect
		for _, e := range effects {
			switch e := e.(type) {
			case Fetch:
				most = max(most, len(e.IDs))
				next = append(next, m.Handle(epoch, Fetched{e.Session, len(e.IDs), e.IDs})...)
			case Send:
				n, _ := e.Message.(NotInLog)
				messages += min(len(n), 1)
				versions += count(n)
			}
		}
		effects = next
	}
	return versions, messages, most
}

func count(needs []versions.Need) (n uint64) {
	for _, need := range needs {
		n += need.Len()
	}
	return n
}

func TestLongAbsenceIsSaidInPieces(t *testing.T) {
	m, effects := inSession(t, "1=1-20000", "2=1")
	n, messages, most := answerAll(m, effects)
	if n != 20_000 || messages != 20_000/AbsentFlush+1 || most != BatchCount {
		t.Errorf("%d versions in %d messages, at most %d fetched at once", n, messages, most)
	}
	if got := m.absent.sets[actor(1)].String(); got != "1-20000" {
		t.Errorf("remembered: %s", got)
	}
}

func TestMemoryOfAbsenceIsBounded(t *testing.T) {
	vector := versions.NewVector()
	var odd versions.Set
	for v := changeset.Version(1); v <= 2*MaxAbsentRanges+100; v += 2 {
		odd.Add(versions.Range{First: v, Last: v})
	}
	vector.Put(actor(1), versions.Entry{Applied: odd})
	m := newTestMachine(vector)
	m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
	n, _, _ := answerAll(m, m.Handle(epoch, Received{1, Vector{versions.NewVector()}}))
	if n != odd.Len() {
		t.Errorf("%d of %d versions answered", n, odd.Len())
	}
	if got := len(m.absent.sets[actor(1)].Ranges()); got > MaxAbsentRanges {
		t.Errorf("%d ranges remembered, want up to %d", got, MaxAbsentRanges)
	}

	// The same for what the peer's log does not have.
	m = newTestMachine(versions.NewVector())
	m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
	m.Handle(epoch, Received{1, Vector{vector}})
	m.Handle(epoch, Received{1, NotInLog{{Actor: actor(1), Ranges: odd.Ranges()}}})
	m.Handle(epoch, Received{1, Done{}})
	m.Handle(epoch, Flushed{1})
	m.Handle(epoch, Ended{1, nil})
	if st := m.Stats(); st.Completed != 1 || st.Unserved != 0 || len(m.Unserved()) != 0 {
		t.Errorf("%+v", st)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	m := newTestMachine(versions.NewVector())
	m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
	told := 0
	for range MaxRefusing + 5 {
		effects := m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
		switch e := effects[0].(type) {
		case Send:
			told++
		case Close:
			if e.Code != CodeBusy {
				t.Errorf("closed with %s", e.Code)
			}
		}
	}
	if told != MaxRefusing || len(m.sessions) != 1+MaxRefusing {
		t.Errorf("%d are told, %d sessions", told, len(m.sessions))
	}
}

func TestPeersThatWentAreForgotten(t *testing.T) {
	m := newTestMachine(versions.NewVector())
	for n := range 100 {
		m.Handle(epoch, PeerUp{actor(n + 2)})
		m.Handle(epoch, PeerDown{actor(n + 2)})
	}
	for id := range SessionID(100) {
		m.Handle(epoch, Failed{id, ErrCut})
	}
	for now := epoch; now.Before(epoch.Add(time.Minute)); now = m.Wake() {
		m.Tick(now)
	}
	if len(m.peers) != 0 {
		t.Errorf("%d peers are remembered", len(m.peers))
	}
}

func TestEventsOfAClosedSessionAreIgnored(t *testing.T) {
	m := newTestMachine(versions.NewVector())
	m.Handle(epoch, Incoming{m.NewSession(), actor(2)})
	m.Handle(epoch, Failed{1, ErrCut})
	for _, e := range []Event{
		Opened{1}, Received{1, Done{}}, Ended{1, nil}, Fetched{1, 1, nil}, Progressed{1}, Flushed{1}, Applied{1, nil}, SendFailed{1, ErrCut}, Failed{1, ErrCut},
	} {
		if effects := m.Handle(epoch, e); len(effects) != 0 {
			t.Errorf("%T: %s", e, printEffects(effects))
		}
	}
	if st := m.Stats(); st.Failed != 1 {
		t.Errorf("%+v", st)
	}
}
