package members

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within fails unless ok becomes true in the given virtual time, and returns when.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

// sees reports the state that node has actor i in, "" for none.
func (f *fakeNode) sees(i int) State { return f.member(i).State }

func (f *fakeNode) member(i int) Member {
	for _, m := range f.members.Members() {
		if m.Actor == testActor(i) {
			return m
		}
	}
	return Member{}
}

func allSee(nodes []*fakeNode, state State) func() bool {
	return func() bool {
		for _, a := range nodes {
			for _, b := range nodes {
				if a.member(int(b.actor[0])).State != state {
					return false
				}
			}
		}
		return true
	}
}

func (n *fakeNet) cluster(count int) []*fakeNode {
	nodes := []*fakeNode{n.start(1, 1, testAddr(1))}
	for i := 2; i <= count; i++ {
		nodes = append(nodes, n.start(i, 1, testAddr(i), 1))
	}
	within(n.t, 30*time.Second, "everybody joined", allSee(nodes, Alive))
	return nodes
}

func TestMembersJoinThroughOneSeed(t *testing.T) {
	for _, count := range []int{3, 7} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNet(t, 20*time.Millisecond, 0)
			defer n.stopAll()
			nodes := n.cluster(count)
			time.Sleep(30 * time.Second)
			for _, a := range nodes {
				a.mu.Lock()
				defer a.mu.Unlock()
				select {
				case <-a.members.Met():
				default:
					t.Errorf("%s has met nobody", a.addr)
				}
				list := a.members.Members()
				if len(list) != count {
					t.Fatalf("%s lists %d members", a.addr, len(list))
				}
				for i, m := range list {
					if i > 0 && list[i-1].Actor.Compare(m.Actor) >= 0 {
						t.Errorf("not sorted by actor")
					}
					if m.APIAddr != "api-"+m.Addr.String() || m.Version != "test" || m.Epoch != 1 {
						t.Errorf("%s sees %+v", a.addr, m)
					}
					if m.Actor == a.actor {
						continue
					}
					if m.RTT < 39*time.Millisecond || m.RTT > 60*time.Millisecond {
						t.Errorf("%s measures an RTT of %v to %s", a.addr, m.RTT, m.Addr)
					}
					if a.digests[m.Actor] != [32]byte{m.Actor[0]} {
						t.Errorf("%s was told the digest %x by %s", a.addr, a.digests[m.Actor], m.Addr)
					}
				}
				if len(a.events) != count-1 {
					t.Errorf("%s was told %d changes, want one for each other member", a.addr, len(a.events))
				}
			}
		})
	}
}

func TestKilledMemberIsFoundDead(t *testing.T) {
	for _, count := range []int{3, 7} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNet(t, 20*time.Millisecond, 0)
			defer n.stopAll()
			nodes := n.cluster(count)
			time.Sleep(15 * time.Second)
			nodes[2].kill()
			suspected := false
			took := within(t, 20*time.Second, "found dead", func() bool {
				for i, f := range nodes {
					suspected = suspected || f.sees(3) == Suspect
					if i != 2 && f.sees(3) != Dead {
						return false
					}
				}
				return true
			})
			if took < 5*time.Second || took > 15*time.Second || !suspected {
				t.Errorf("%d nodes: dead after %v, suspect before: %v", count, took, suspected)
			}
			time.Sleep(5 * time.Minute) // the library forgets after 30 s
			if nodes[0].sees(3) != Dead {
				t.Error("a dead member was forgotten")
			}
		})
	}
}

func TestLeavingMemberIsSeenToLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		defer n.stopAll()
		nodes := n.cluster(3)
		if err := nodes[2].members.Leave(3 * time.Second); err != nil {
			t.Fatal(err)
		}
		if nodes[2].sees(3) != Left {
			t.Errorf("who left sees itself as %s", nodes[2].sees(3))
		}
		within(t, 2*time.Second, "seen to leave", func() bool { return nodes[0].sees(3) == Left && nodes[1].sees(3) == Left })
		nodes[2].kill()
		time.Sleep(5 * time.Minute)
		if nodes[0].sees(3) != Left || nodes[1].sees(3) != Left {
			t.Errorf("after 5 minutes it is %q", nodes[0].sees(3))
		}
		if err := nodes[2].members.Leave(time.Second); !errors.Is(err, ErrNotRunning) {
			t.Errorf("leave after the end: %v", err)
		}
	})
}

func TestLeaveAloneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 0, 0)
		defer n.stopAll()
		f := n.start(1, 1, testAddr(1))
		time.Sleep(time.Second)
		start := time.Now()
		if err := f.members.Leave(3 * time.Second); err != nil || time.Since(start) > 0 {
			t.Errorf("leave: %v after %v", err, time.Since(start))
		}
	})
}

func TestRestartSupersedesTheOldProcess(t *testing.T) {
	for _, moved := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNet(t, 20*time.Millisecond, 0)
			defer n.stopAll()
			nodes := n.cluster(3)
			nodes[2].kill()
			addr := testAddr(3)
			if moved {
				addr = testAddr(33)
			}
			nodes[2] = n.start(3, 2, addr, 1)
			now := func(f *fakeNode) bool {
				m := f.member(3)
				return m.State == Alive && m.Epoch == 2 && m.Addr == addr
			}
			within(t, 5*time.Second, "the new process is seen", func() bool { return now(nodes[0]) && now(nodes[1]) })
			for range 300 { // the old name dies meanwhile; nobody may notice
				time.Sleep(200 * time.Millisecond)
				if !now(nodes[0]) || !now(nodes[1]) || !allSee(nodes, Alive)() {
					t.Fatalf("moved %v: %+v, %+v", moved, nodes[0].members.Members(), nodes[1].members.Members())
				}
				if l := len(nodes[0].members.Members()); l != 3 {
					t.Fatalf("%d members", l)
				}
			}
		})
	}
}

func TestFullPartitionHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		defer n.stopAll()
		nodes := n.cluster(5)
		// The seed is on the other side for nodes 4 and 5, who must heal it: nodes 1 to
		// 3 know no seed that is not alive.
		n.partition(func(a, b netip.AddrPort) bool { return (a.Addr().As4()[3] > 3) != (b.Addr().As4()[3] > 3) })
		within(t, 60*time.Second, "both sides see the other dead", func() bool {
			return allSee(nodes[:3], Alive)() && allSee(nodes[3:], Alive)() && nodes[0].sees(4) == Dead && nodes[0].sees(5) == Dead &&
				nodes[3].sees(1) == Dead && nodes[4].sees(2) == Dead
		})
		time.Sleep(10 * time.Minute)
		n.partition(func(a, b netip.AddrPort) bool { return false })
		took := within(t, 60*time.Second, "healed", allSee(nodes, Alive))
		t.Logf("healed in %v", took)
	})
}

func TestPartitionHealsWithoutSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		defer n.stopAll()
		nodes := n.cluster(3)
		for _, f := range nodes {
			if err := f.members.SetSeeds(nil); err != nil {
				t.Fatal(err)
			}
		}
		n.partition(func(a, b netip.AddrPort) bool { return true })
		time.Sleep(10 * time.Minute)
		if allSee(nodes, Alive)() || nodes[0].sees(2) != Dead {
			t.Fatal("the partition was not seen")
		}
		n.partition(func(a, b netip.AddrPort) bool { return false })
		within(t, 60*time.Second, "healed", allSee(nodes, Alive))
	})
}

func TestLossyNetworkKillsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 100*time.Millisecond, 0.10)
		defer n.stopAll()
		nodes := n.cluster(7)
		time.Sleep(5 * time.Minute)
		for _, f := range nodes {
			f.mu.Lock()
			for _, e := range f.events {
				if e.Member.State == Dead || e.Member.State == Left {
					t.Errorf("%s saw %s as %s", f.addr, e.Member.Addr, e.Member.State)
				}
			}
			f.mu.Unlock()
		}
		if !allSee(nodes, Alive)() {
			time.Sleep(10 * time.Second)
			if !allSee(nodes, Alive)() {
				t.Error("not everybody is alive")
			}
		}
		for _, q := range nodes[0].members.Queues() {
			if q.Dropped > 20 {
				t.Errorf("queue %s dropped %d", q.Name, q.Dropped)
			}
		}
		for _, f := range nodes {
			if r := f.members.Refused(); r != (Refused{}) {
				t.Errorf("%s refused what others of us sent: %+v", f.addr, r)
			}
		}
	})
}

// TestLiveLinkRefutesSuspicion: where packets are lost so often that the library
// declares members dead, those whose links still bring something are not.
func TestLiveLinkRefutesSuspicion(t *testing.T) {
	deaths := func(mute bool) (count int) {
		synctest.Test(t, func(t *testing.T) {
			n := newFakeNet(t, 100*time.Millisecond, 0)
			defer n.stopAll()
			n.mute = mute
			nodes := n.cluster(12)
			within(t, time.Minute, "met", allSee(nodes, Alive))
			time.Sleep(30 * time.Second) // each has probed each: all are linked
			n.mu.Lock()
			n.loss = 0.45
			n.mu.Unlock()
			most := 1
			if mute {
				most = 12 // until somebody is declared dead, which is chance
			}
			for i := 0; i < most && count == 0; i++ {
				time.Sleep(5 * time.Minute)
				for _, f := range nodes {
					f.mu.Lock()
					for _, e := range f.events {
						if e.Member.State == Dead || e.Member.State == Suspect && !mute {
							count++
						}
					}
					f.mu.Unlock()
				}
			}
			if mute {
				return
			}
			if !allSee(nodes, Alive)() {
				t.Error("not everybody is alive")
			}
			nodes[3].kill()
			within(t, 20*time.Second, "a death is seen all the same", func() bool {
				for i, f := range nodes {
					if i != 3 && f.sees(4) != Dead {
						return false
					}
				}
				return true
			})
		})
		return count
	}
	if n := deaths(true); n == 0 {
		t.Error("the library alone declares nobody dead: the test shows nothing")
	} else {
		t.Logf("the library alone: %d deaths", n)
	}
	if n := deaths(false); n > 0 {
		t.Errorf("%d deaths and suspicions although every link was up", n)
	}
}

// TestSeedNamesAreResolvedAgain: a name that leads elsewhere later, or nowhere at
// first, is followed.
func TestSeedNamesAreResolvedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		defer n.stopAll()
		a := n.start(1, 1, testAddr(1))
		n.resolve = func(host string) ([]netip.Addr, error) { return nil, fmt.Errorf("no such host %s", host) }
		b := n.startWith(2, 1, testAddr(2), "seed.internal:7000")
		time.Sleep(time.Minute)
		n.mu.Lock()
		n.resolve = func(string) ([]netip.Addr, error) { return []netip.Addr{testAddr(77).Addr()}, nil }
		n.mu.Unlock()
		time.Sleep(time.Minute)
		if b.sees(1) != "" {
			t.Fatal("met already")
		}
		n.mu.Lock()
		n.resolve = func(string) ([]netip.Addr, error) { return []netip.Addr{testAddr(1).Addr()}, nil }
		n.mu.Unlock()
		within(t, 20*time.Second, "joined", allSee([]*fakeNode{a, b}, Alive))
		// The seed moves; who is alone by then finds it where the name leads now.
		a.kill()
		within(t, 30*time.Second, "alone", func() bool { return b.sees(1) == Dead })
		a = n.start(1, 2, testAddr(5))
		n.mu.Lock()
		n.resolve = func(string) ([]netip.Addr, error) { return []netip.Addr{testAddr(5).Addr()}, nil }
		n.mu.Unlock()
		within(t, 30*time.Second, "joined elsewhere", allSee([]*fakeNode{a, b}, Alive))
	})
}

func TestSeedThatComesLateIsJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t, 20*time.Millisecond, 0)
		defer n.stopAll()
		b := n.start(2, 1, testAddr(2), 1)
		time.Sleep(3 * time.Minute)
		a := n.start(1, 1, testAddr(1))
		within(t, 30*time.Second, "joined", allSee([]*fakeNode{a, b}, Alive))
	})
}
