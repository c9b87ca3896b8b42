package node

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A node that was never complete, and has bootstrap peers, waits to meet one, and then
// to hear what it has, before it calls itself ready.
const (
	meetTime = 5 * time.Second
	hearTime = 30 * time.Second
)

// Ready returns nil, or why the node is not ready. One that was never ready on its file,
// and has bootstrap peers, first meets one, or waits five seconds, and hears what it has.
// One that lacks what no peer has in its log any more is not ready until it has it, by a
// transfer of state.
func (n *Node) Ready() error {
	m := n.mesh.Load()
	heard := m.antientropy.Stats() // before what is missing, of which a session tells
	if progress := n.filling(); progress != "" {
		return errors.New(progress)
	}
	var lacks uint64
	for _, missing := range n.missing(m, n.store.Vector()) {
		lacks += missing.Count
	}
	if lacks > 0 {
		return fmt.Errorf("incomplete: the logs of the peers that were asked lack %d versions that this node does not have: a transfer of state begins%s", lacks, n.lastFailure())
	}
	if n.settled.Load() || len(n.cfg.Gossip.Bootstrap) == 0 {
		return nil
	}
	waited := time.Since(n.started)
	select {
	case <-m.members.Met():
		if heard.Equal+heard.Completed == 0 && waited < hearTime {
			return errors.New("waiting for what a peer has")
		}
	default:
		if waited < meetTime {
			return errors.New("waiting to meet a bootstrap peer")
		}
	}
	n.settled.Store(true)
	return nil
}

// settle writes down that the node was ready, so that it need not wait after a restart.
func (n *Node) settle(ctx context.Context) {
	if n.store.Settled() || n.Ready() != nil {
		return
	}
	if err := n.store.Settle(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("that the node was ready is not written down", "err", err)
	}
}
