package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/patinadb/patina/api/client"
	"github.com/patinadb/patina/changeset"
)

// maxRequest is the most statements of one request that a node takes by default.
const maxRequest = 1000

// heads holds, for each actor, the highest version that a node acknowledged.
type heads map[changeset.ActorID]changeset.Version

// createTables makes the schema on every node: definitions are not replicated
// yet. Where the tables exist, equal ones change nothing.
func createTables(ctx context.Context, nodes []*client.Client) error {
	var list []client.Statement
	for i := range tables {
		list = append(list, client.Statement{SQL: tables[i].create})
	}
	for _, node := range nodes {
		answer, err := node.Migrate(ctx, list)
		if err == nil {
			err = answer.Err()
		}
		if err != nil {
			return fmt.Errorf("create the tables at %s: %w", node.Addr(), err)
		}
	}
	return nil
}

// batches cuts the source into requests of about size rows. A package is
// written whole by one request, unless it alone is too large for one.
func batches(s *source, size int) (list [][]client.Statement) {
	var batch []client.Statement
	for i := range s.packages {
		batch = append(batch, statements(&s.packages[i])...)
		for len(batch) > maxRequest {
			list, batch = append(list, batch[:maxRequest:maxRequest]), batch[maxRequest:]
		}
		if len(batch) >= size {
			list, batch = append(list, batch), nil
		}
	}
	if len(batch) > 0 {
		list = append(list, batch)
	}
	return list
}

// load writes the batches, each by one of the writers, which are spread over the
// nodes. The first error stops them all.
func load(ctx context.Context, nodes []*client.Client, writers int, work [][]client.Statement) (heads, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan []client.Statement)
	acknowledged := heads{}
	var mu sync.Mutex // guards acknowledged
	var group sync.WaitGroup
	for i := range writers {
		node := nodes[i%len(nodes)]
		group.Go(func() {
			for batch := range queue {
				answer, err := write(ctx, node, batch)
				if err != nil {
					cancel(fmt.Errorf("write to %s: %w", node.Addr(), err))
					return
				}
				mu.Lock()
				acknowledged[answer.Actor] = max(acknowledged[answer.Actor], answer.Version)
				mu.Unlock()
			}
		})
	}
	for _, batch := range work {
		select {
		case queue <- batch:
		case <-ctx.Done():
		}
	}
	close(queue)
	group.Wait()
	return acknowledged, context.Cause(ctx)
}

// Pauses before a request is sent again.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// write sends one batch. Only what the node refused without running it (503: it
// is busy or not ready) is sent again, to the same node; a request that broke off
// may have been carried out.
func write(ctx context.Context, node *client.Client, batch []client.Statement) (client.Answer, error) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		answer, err := node.Transact(ctx, batch)
		if err == nil {
			return answer, answer.Err()
		}
		var refused *client.StatusError
		if !errors.As(err, &refused) || refused.Code != http.StatusServiceUnavailable {
			return answer, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return answer, context.Cause(ctx)
		}
	}
}
