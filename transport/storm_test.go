package transport

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDialStormLosesNothing lets 20 nodes dial each other at the same instant
// at 10 % loss and send while links are being arbitrated.
func TestDialStormLosesNothing(t *testing.T) {
	const nodes, rounds = 20, 5
	bubble(t, 50*time.Millisecond, 0.10, func(t *testing.T, n *vnet) {
		all := make([]*testNode, nodes)
		for i := range all {
			all[i] = n.start(t, i+1)
		}
		var mu sync.Mutex
		accepted := map[int][]string{} // receiver: messages whose stream was closed without an error
		var failed int
		send := func(i, j, k int) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, err := all[i].Dial(ctx, all[j].LocalAddr())
			text := fmt.Sprintf("%02d %02d %d", i, j, k)
			if err == nil {
				err = all[i].say(actor(j+1), text)
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				t.Logf("%s: %v", text, err)
				return
			}
			accepted[j] = append(accepted[j], text)
		}
		var wg sync.WaitGroup
		for k := range rounds {
			for i := range nodes {
				for j := range nodes {
					if i != j {
						wg.Go(func() { send(i, j, k) })
					}
				}
			}
			time.Sleep(150 * time.Millisecond)
		}
		wg.Wait()
		time.Sleep(drainMax)
		synctest.Wait()

		total := 0
		for j, want := range accepted {
			got := all[j].received()
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("node %d received %d of %d messages", j, len(got), len(want))
			}
			total += len(got)
		}
		var superseded uint64
		for i, a := range all {
			superseded += a.Stats().Count(CodeSuperseded)
			if p := a.Peers(); len(p) != nodes-1 {
				t.Errorf("node %d has %d peers", i, len(p))
			}
			if ups := len(a.seen()); ups != nodes-1 {
				t.Errorf("node %d was told %d events, want %d: %q", i, ups, nodes-1, a.seen())
			}
			for j, b := range all {
				if i < j {
					agree(t, a, b)
				}
			}
		}
		t.Logf("%d of %d messages arrived, %d could not be sent, %d links superseded", total, nodes*(nodes-1)*rounds, failed, superseded/2)
		if failed > 0 {
			t.Errorf("%d messages were not accepted", failed)
		}
		stopAll(all)
	})
}

// agree checks that two nodes kept the same single link.
func agree(t *testing.T, a, b *testNode) {
	t.Helper()
	x, y := a.links.best(b.cfg.Actor), b.links.best(a.cfg.Actor)
	if x == nil || y == nil {
		t.Errorf("%s and %s have no link", a.cfg.Name, b.cfg.Name)
		return
	}
	if x.order.dialer != y.order.dialer || x.order.dial != y.order.dial {
		t.Errorf("%s uses %+v, %s uses %+v", a.cfg.Name, x.order, b.cfg.Name, y.order)
	}
	for _, n := range []*testNode{a, b} {
		for _, p := range n.Stats().Peers {
			if p.Links != 1 {
				t.Errorf("%s still has %d links to %s", n.cfg.Name, p.Links, p.Actor)
			}
		}
	}
}

func stopAll(all []*testNode) {
	var wg sync.WaitGroup
	for _, n := range all {
		wg.Go(n.stop)
	}
	wg.Wait()
}
