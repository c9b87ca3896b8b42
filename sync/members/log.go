package members

import (
	"bytes"
	"log"
	"log/slog"
	"sync"
	"time"
)

const warnEvery = 10 * time.Second

// logBridge turns the library's lines into records with a constant message. Its
// errors become warnings, one in ten seconds at most; everything else is debug:
// what an operator must know, Run logs itself when a member's state changes.
type logBridge struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	next time.Time // before it, warnings are debug
}

func (b *logBridge) logger() *log.Logger { return log.New(b, "", 0) }

// Write implements io.Writer for one line.
func (b *logBridge) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	if bytes.HasPrefix(line, []byte("[ERR")) && b.admit() {
		b.log.Warn("membership trouble", "component", "members", "err", text)
	} else {
		b.log.Debug("membership", "component", "members", "err", text)
	}
	return len(line), nil
}

func (b *logBridge) admit() bool {
	now := b.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.next) {
		return false
	}
	b.next = now.Add(warnEvery)
	return true
}
