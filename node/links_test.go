package node

import (
	"testing"
	"time"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/members"
)

func TestRedialBacksOffWithJitter(t *testing.T) {
	now := time.Unix(1000, 0)
	m := members.Member{Actor: changeset.ActorID{1}, Epoch: 1}
	differ := map[time.Duration]bool{}
	for range 20 {
		calls := redials{}
		want := firstPause
		for range 12 {
			if !calls.due(m, now) {
				t.Fatal("not due")
			}
			calls.failed(m.Actor, now)
			pause := calls[m.Actor].next.Sub(now)
			if pause < want/2 || pause > want*3/2 {
				t.Fatalf("a pause of %v, about %v was due", pause, want)
			}
			differ[pause] = true
			if calls.due(m, now.Add(pause-1)) {
				t.Fatal("due too early")
			}
			now = now.Add(pause)
			want = min(2*want, lastPause)
		}
		moved := m
		moved.Epoch++
		if calls.failed(m.Actor, now); !calls.due(moved, now) {
			t.Error("a new process waits for the failures of the old one")
		}
		calls.keep(nil)
		if len(calls) != 0 {
			t.Error("who is linked is remembered")
		}
	}
	if len(differ) < 100 {
		t.Errorf("%d different pauses of 240", len(differ))
	}
}
