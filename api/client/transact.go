package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/patinadb/patina/api/internal/wire"
	"github.com/patinadb/patina/changeset"
)

// Answer is what became of a transaction or a migration that ran.
type Answer struct {
	// Results has a result for each statement, up to the one that failed; only
	// the last can have an Err.
	Results []Result
	Version changeset.Version // 0 if nothing replicated changed
	Actor   changeset.ActorID // of the node's database
	JSON    []byte            // as it came
}

// Err returns the error of the statement that failed, if one did: then nothing
// was changed.
func (a *Answer) Err() error {
	n := len(a.Results)
	if n == 0 || a.Results[n-1].Err == nil {
		return nil
	}
	if n == 1 {
		return a.Results[0].Err
	}
	return fmt.Errorf("statement %d: %w", n, a.Results[n-1].Err)
}

// Transact runs the statements all or nothing. A statement that fails is not an
// error of Transact, but of its Answer.
func (c *Client) Transact(ctx context.Context, list []Statement) (Answer, error) {
	return c.write(ctx, "/v1/transactions?timings", list)
}

// Migrate changes the schema. A refusal is a *StatusError.
func (c *Client) Migrate(ctx context.Context, list []Statement) (Answer, error) {
	return c.write(ctx, "/v1/migrations?timings", list)
}

func (c *Client) write(ctx context.Context, path string, list []Statement) (Answer, error) {
	var a Answer
	body, err := wire.AppendStatements(nil, list)
	if err != nil {
		return a, err
	}
	if a.JSON, err = c.whole(ctx, http.MethodPost, path, body); err != nil {
		return a, err
	}
	if err := a.read(); err != nil {
		return a, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

func (a *Answer) read() error {
	var text struct {
		Results []struct {
			LastInsertID int64 `json:"last_insert_id"`
			RowsAffected int64 `json:"rows_affected"`
			Columns      []string
			Types        []string
			Values       []json.RawMessage
			Time         float64
			Error        *string
		}
		Version *changeset.Version
		Actor   changeset.ActorID `json:"actor_id"`
	}
	if err := json.Unmarshal(a.JSON, &text); err != nil {
		return err
	}
	a.Actor = text.Actor
	if text.Version != nil {
		a.Version = *text.Version
	}
	a.Results = make([]Result, len(text.Results))
	for i, from := range text.Results {
		to := &a.Results[i]
		to.LastInsertID, to.RowsAffected = from.LastInsertID, from.RowsAffected
		to.Columns, to.Types, to.HasRows = from.Columns, from.Types, from.Columns != nil
		to.Time = time.Duration(from.Time * float64(time.Second))
		if from.Error != nil {
			to.Err = errors.New(*from.Error)
		}
		for _, row := range from.Values {
			values, err := wire.Values(row)
			if err != nil {
				return err
			}
			to.Rows = append(to.Rows, values)
		}
	}
	return nil
}
