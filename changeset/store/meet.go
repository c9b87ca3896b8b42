package store

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/sync/versions"
)

// A peer's vector says, of each actor, which versions it holds and the hash of the
// highest that it has applied. That shows two things which no version that arrives
// may ever show. Versions of our own above our head: this file was rolled back, a
// restored snapshot of a machine, say, which takes its identity along. And a head
// that is here with another hash: its actor's history is forked.

// meetLookups bounds the heads that one vector is compared in against the log. Which
// they are is drawn anew each time, so that each head has its turn.
const meetLookups = 256

// MeetVector is told what a peer holds, as it said itself. If it knows versions of
// our own that we do not, or proves our actor forked, the store takes a new actor
// id; any other actor that it proves forked is marked. It returns when that is
// durable, and waits for the writer only if there is something to do. The vector must
// not change afterwards.
func (s *Store) MeetVector(ctx context.Context, peer changeset.ActorID, v *versions.Vector) error {
	s.HearVector(peer, v)
	suspects, err := s.suspectHeads(ctx, v)
	if err != nil {
		return fmt.Errorf("compare with the heads of %v: %w", peer, err)
	}
	if len(suspects) == 0 && !s.knowsMoreOfUs(v) {
		return nil
	}
	done := make(chan error, 1)
	job := &control{run: func() { done <- s.writer.meetVector(peer, v, suspects) }, done: make(chan struct{})}
	if err := send(ctx, s.stopped, s.queues.controls, job); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return ErrStopped
	}
}

// knowsMoreOfUs reports whether v may hold versions of ours that we do not, as of the
// last commit that was published; the writer knows better.
func (s *Store) knowsMoreOfUs(v *versions.Vector) bool {
	own := s.Actor()
	return lastHeld(v.Entry(own)) > s.Vector().Entry(own).Applied.Last()
}

// lastHeld returns the highest version that is applied or parked.
func lastHeld(e versions.Entry) changeset.Version { return max(e.Applied.Last(), e.Parked.Last()) }

// suspectHeads returns the actors whose head in v is held here with another hash, but
// those that are marked already.
func (s *Store) suspectHeads(ctx context.Context, v *versions.Vector) (suspects []changeset.ActorID, err error) {
	mine, marked := s.Vector(), s.Forked()
	if mine.Digest() == v.Digest() {
		return nil, nil
	}
	actors := v.Actors()
	first := 0
	if len(actors) > 0 {
		first = rand.IntN(len(actors))
	}
	lookups := 0
	for i := range actors {
		a := actors[(first+i)%len(actors)]
		known, here := v.Entry(a), mine.Entry(a)
		head := changeset.ID{Actor: a, Version: known.Applied.Last()}
		if _, is := searchForks(marked, a); is || known.Head.IsZero() || known.Head == here.Head || !mine.Holds(head) {
			continue
		}
		hash := here.Head
		if head.Version != here.Applied.Last() {
			if lookups++; lookups > meetLookups {
				continue
			}
			held, err := s.Changeset(ctx, head)
			if err = unlessUnreadable(err); err != nil {
				return nil, err
			}
			hash = held.Hash
		}
		if !hash.IsZero() && hash != known.Head {
			suspects = append(suspects, a)
		}
	}
	return suspects, nil
}

// meetVector is MeetVector's part on the writer. What the snapshots showed is looked
// at once more: a peer may know of a commit before the snapshots do.
func (w *writer) meetVector(peer changeset.ActorID, v *versions.Vector, suspects []changeset.ActorID) error {
	err := w.transaction(func() error {
		own := w.actors.self
		if known := lastHeld(v.Entry(own)); known > w.vector.Entry(own).Applied.Last() {
			if err := w.rolledBack(known); err != nil {
				return err
			}
		}
		for _, a := range suspects {
			if err := w.checkHead(peer, a, v.Entry(a)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("meet the vector of %v: %w", peer, err)
	}
	w.announce()
	return nil
}

// checkHead marks an actor whose head at a peer is held here with another hash.
func (w *writer) checkHead(peer, a changeset.ActorID, known versions.Entry) error {
	if _, marked := w.findFork(a); marked {
		return nil
	}
	head := changeset.ID{Actor: a, Version: known.Applied.Last()}
	hash, ok, err := w.heldHash(head)
	if err != nil || !ok || hash == known.Head {
		return err
	}
	return w.markForked(a, fmt.Sprintf("version %d is %s here, and %s at %v", head.Version, short(hash), short(known.Head), peer))
}
