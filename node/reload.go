package node

import (
	"context"
	"fmt"

	"github.com/patinadb/patina/transport"
)

// liveConfig returns the settings of the mesh and the identity of the node, as the
// last Reload left them.
func (n *Node) liveConfig() (GossipConfig, transport.Identity) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	return n.live.Gossip, n.identity
}

// Reload reads the configuration again (Config.Reread), takes over the keys that
// change at run time (db.schema_paths, log.level, gossip.bootstrap, secrets,
// gossip.tls with the contents of its files, and the byte budget), and applies the schema files. The notes name the keys whose change needs a restart. On an
// error the old schema is kept, and nothing of the new configuration was taken.
// It is called by one goroutine at a time.
func (n *Node) Reload(ctx context.Context) (notes []string, err error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	next := n.live
	if n.cfg.Reread != nil {
		read, err := n.cfg.Reread()
		if err != nil {
			n.log.Error("reload failed: the configuration is kept", "err", err)
			return nil, err
		}
		changed, restart := n.live.Diff(read)
		for _, key := range changed {
			notes = append(notes, key+" changed")
		}
		for _, key := range restart {
			notes = append(notes, key+" changed: needs a restart")
			n.log.Warn("a changed key needs a restart", "err", key)
		}
		next = n.live.Reloaded(read)
	}
	identity, err := readIdentity(next)
	if err != nil {
		n.log.Error("reload failed: the configuration is kept", "err", err)
		return nil, err
	}
	m := n.mesh.Load()
	use, err := m.links.PrepareIdentity(identity)
	if err != nil {
		n.log.Error("reload failed: the configuration is kept", "err", err)
		return nil, err
	}
	files, missing, err := schemaFiles(next.DB)
	if err == nil {
		n.logMissing(missing)
		err = n.store.Reload(ctx, files)
	}
	if err != nil {
		n.log.Error("reload failed: the schema is kept", "err", err)
		return nil, fmt.Errorf("reload: %w", err)
	}
	n.live, n.identity = next, identity
	n.level.Set(next.Log.SlogLevel())
	use()
	m.links.SetBytesPerSecond(next.Gossip.MaxBytesPerSecond)
	n.logExpiry(m)
	return notes, m.members.SetSeeds(next.Gossip.Bootstrap)
}
