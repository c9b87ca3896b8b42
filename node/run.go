package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/patinadb/patina/api"
)

// requestGrace is what running requests have when the node stops, before their
// contexts end and their statements are cut off.
const requestGrace = 2 * time.Second

// Run serves until ctx ends or the node cannot go on, and returns when
// everything it started has ended. The order of the stop is: the API (no new
// requests, two seconds for those that run), the mesh (good-bye, protocols, then
// links), the store (what was accepted is committed), the files. It takes at
// most five seconds.
func (n *Node) Run(ctx context.Context) error {
	serveCtx, stopServing := context.WithCancel(context.Background())
	meshCtx, stopMesh := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	defer stopServing()
	defer stopMesh()
	defer stopStore()
	failed := make(chan error, 3)
	start := func(ctx context.Context, name string, run func(context.Context) error) *sync.WaitGroup {
		var g sync.WaitGroup
		g.Go(func() {
			err := run(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			failed <- err
		})
		return &g
	}
	server := api.NewServer(api.ServerConfig{Handler: api.New(*n.Handler()), Listener: n.listener, Grace: requestGrace, Log: n.log})
	storage := start(storeCtx, "store", n.store.Run)
	links := start(meshCtx, "mesh", n.runMesh)
	serving := start(serveCtx, "api", server.Run)
	n.log.Info("node started", "actor", n.store.Actor(), "component", "node")

	var err error
	ended := 0
	select {
	case <-ctx.Done():
	case err = <-failed:
		ended++
	}
	n.log.Info("node stops", "component", "node")
	n.store.EndStatements(time.Now().Add(requestGrace))
	stopServing()
	serving.Wait()
	stopMesh()
	links.Wait()
	stopStore()
	storage.Wait()
	for ; ended < cap(failed); ended++ {
		err = errors.Join(err, <-failed)
	}
	return errors.Join(err, n.store.Close())
}

// runMesh drives the mesh, and a new one each time the node takes a new actor
// id.
func (n *Node) runMesh(ctx context.Context) error {
	for {
		m := n.mesh.Load()
		err := m.run(ctx)
		switch {
		case errors.Is(err, errDuplicate):
			n.log.Warn("another live node has this actor id: taking a new one", "actor", m.actor)
			err = n.store.RenewActor(ctx, m.actor)
		case errors.Is(err, errRenewed):
			err = nil
		default:
			return err
		}
		if err == nil {
			err = n.renewMesh(ctx)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil // stopped before the new one was made
		default:
			return err
		}
	}
}

// renewMesh puts a mesh of the node's new actor id in the place of one that has
// ended.
func (n *Node) renewMesh(ctx context.Context) error {
	select {
	case <-n.store.Renewed(): // the new mesh must not end for what it begins with
	default:
	}
	conn, err := n.listen(ctx, n.udp.String())
	if err != nil {
		return fmt.Errorf("listen again under the new actor id: %w", err)
	}
	m, err := n.newMesh(conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	n.mesh.Store(m)
	// A Reload since newMesh looked has told the old mesh.
	live, identity := n.liveConfig()
	use, err := m.links.PrepareIdentity(identity)
	if err == nil {
		use()
		m.links.SetBytesPerSecond(live.MaxBytesPerSecond)
		err = m.members.SetSeeds(live.Bootstrap)
	}
	if err != nil {
		n.log.Warn("the new mesh is not as the last reload had it", "err", err)
	}
	n.log.Info("the mesh starts anew", "actor", m.actor, "component", "node")
	return nil
}
