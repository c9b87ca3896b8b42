package members

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

var errTooMany = fmt.Errorf("%w: more than %d members", errRefused, MaxMembers)

var errNotAdmitted = errors.New("not a name of this cluster, or replaced by a later process")

// settings are those of DESIGN section 5, measured at 200 ms round-trip time and
// up to 10 % loss. What is not named here is the library's default for a LAN.
func (m *Members) settings() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = m.name
	c.Transport = m.carrier
	c.Label = m.cfg.Cluster
	c.BindPort = int(m.cfg.Addr.Port())
	c.AdvertisePort = c.BindPort
	c.UDPBufferSize = 1180      // fits a datagram of a 1,280-byte QUIC packet
	c.EnableCompression = false // small packets grow
	c.SecretKey = nil           // the links are encrypted and authenticated
	c.ProbeInterval = time.Second
	c.ProbeTimeout = 500 * time.Millisecond
	c.SuspicionMult = 5
	c.IndirectChecks = 3
	c.GossipInterval = 200 * time.Millisecond
	c.PushPullInterval = 10 * time.Second
	c.DisableTcpPings = false // a stream ping saves who loses datagrams only
	// The same name at another address is the same process that moved.
	c.DeadNodeReclaimTime = 10 * time.Second
	h := hooks{m}
	c.Delegate, c.Events, c.Alive, c.Ping = h, h, h, h
	c.Logger = m.bridge.logger()
	return c
}

// hooks is what the library calls. It holds its own lock meanwhile, so a hook must
// not call the library.
type hooks struct{ m *Members }

// NodeMeta implements memberlist.Delegate.
func (h hooks) NodeMeta(int) []byte { return h.m.meta }

// NotifyMsg implements memberlist.Delegate; there are no user messages.
func (h hooks) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (h hooks) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (h hooks) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (h hooks) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements memberlist.EventDelegate.
func (h hooks) NotifyJoin(*memberlist.Node) { poke(h.m.kick) }

// NotifyLeave implements memberlist.EventDelegate.
func (h hooks) NotifyLeave(*memberlist.Node) { poke(h.m.kick) }

// NotifyUpdate implements memberlist.EventDelegate.
func (h hooks) NotifyUpdate(*memberlist.Node) { poke(h.m.kick) }

// NotifyAlive implements memberlist.AliveDelegate: it keeps out what is no name of
// ours, strangers under our own id, and processes that were replaced.
func (h hooks) NotifyAlive(n *memberlist.Node) error {
	actor, epoch, ok := parseName(n.Name)
	if !ok || !h.m.admits(actor, epoch) {
		return errNotAdmitted
	}
	if !h.m.enter(n.Name) {
		h.m.refuse(actor, &h.m.refused.Members, errTooMany)
		return errTooMany
	}
	return nil
}

// AckPayload implements memberlist.PingDelegate.
func (h hooks) AckPayload() []byte {
	if h.m.cfg.Digest == nil {
		return nil
	}
	d := h.m.cfg.Digest()
	return d[:]
}

// NotifyPingComplete implements memberlist.PingDelegate. Payloads of another length
// are those of another protocol version, or of a node without a digest.
func (h hooks) NotifyPingComplete(n *memberlist.Node, rtt time.Duration, payload []byte) {
	actor, _, ok := parseName(n.Name)
	if !ok || h.m.carrier.ended() {
		return
	}
	h.m.mu.Lock()
	h.m.roster.measured(actor, rtt)
	h.m.mu.Unlock()
	if len(payload) == 32 && h.m.cfg.OnDigest != nil {
		h.m.cfg.OnDigest(actor, [32]byte(payload))
	}
}
