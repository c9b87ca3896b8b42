package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/patinadb/patina/api/internal/wire"
	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

// outcome is what became of a request's statements.
type outcome struct {
	results []sqlite.Result
	id      changeset.ID
	timed   bool
	time    time.Duration
}

// failed reports whether a statement failed; it is the last then.
func (o *outcome) failed() bool {
	n := len(o.results)
	return n > 0 && o.results[n-1].Err != nil
}

// transactions answers 200 whatever the statements did: the error of the one
// that failed is in its slot.
func (a *api) transactions(w http.ResponseWriter, r *http.Request) error {
	o, list, err := a.begin(w, r)
	if err != nil {
		return err
	}
	start := time.Now()
	if o.results, o.id, err = a.Database.Transact(r.Context(), list); err != nil {
		return err
	}
	o.time = time.Since(start)
	a.answer(w, http.StatusOK, &o)
	return nil
}

// migrations answers 400 when a statement is refused. Nothing of the others
// holds then, and their slots are empty objects.
func (a *api) migrations(w http.ResponseWriter, r *http.Request) error {
	o, list, err := a.begin(w, r)
	if err != nil {
		return err
	}
	start := time.Now()
	if o.results, o.id, err = a.Database.Migrate(r.Context(), list); err != nil {
		return err
	}
	o.time = time.Since(start)
	status := http.StatusOK
	if o.failed() {
		status = http.StatusBadRequest
	}
	a.answer(w, status, &o)
	return nil
}

// begin reads what a writing request asks for.
func (a *api) begin(w http.ResponseWriter, r *http.Request) (o outcome, list []sqlite.Statement, err error) {
	values, err := query(r)
	if err != nil {
		return o, nil, err
	}
	_, o.timed = values["timings"] // present is on, whatever its value: rqlite's rule
	text, err := a.body(w, r)
	if err != nil {
		return o, nil, err
	}
	list, err = wire.Statements(text, a.MaxStatements)
	var many *wire.TooManyError
	if errors.As(err, &many) {
		err = fmt.Errorf("%w (api.max_statements)", err)
	}
	return o, list, err
}

// answer sends {"results":[…],"time":s,"version":n|null,"actor_id":"…"}.
func (a *api) answer(w http.ResponseWriter, status int, o *outcome) {
	buffer := answerBuffer()
	b := append((*buffer)[:0], `{"results":[`...)
	for i := range o.results {
		if i > 0 {
			b = append(b, ',')
		}
		if status != http.StatusOK && o.results[i].Err == nil {
			b = append(b, '{', '}')
			continue
		}
		b = wire.AppendResult(b, &o.results[i], o.timed)
	}
	b = append(b, ']')
	if o.timed {
		b = wire.AppendSeconds(append(b, `,"time":`...), o.time)
	}
	actor := o.id.Actor
	b = append(b, `,"version":`...)
	if o.id.Version == 0 || o.failed() {
		b = append(b, "null"...)
		actor = a.Database.Actor()
	} else {
		b = strconv.AppendUint(b, uint64(o.id.Version), 10)
	}
	b = append(b, `,"actor_id":"`...)
	b = append(b, actor.String()...)
	b = append(b, '"', '}', '\n')
	a.reply(w, status, b)
	releaseBuffer(buffer, b)
}
