package nodetest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logTailLines is how much of the logs is kept.
const logTailLines = 4000

// printedLines is how much of that is printed when a test fails.
const printedLines = 150

// logTail keeps the last lines that the nodes logged.
type logTail struct {
	level slog.Level

	mu    sync.Mutex
	lines []string
}

func newLogTail(level slog.Level) *logTail { return &logTail{level: level} }

// Write takes a line; slog's text handler writes whole ones.
func (l *logTail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) >= 2*logTailLines {
		l.lines = append(l.lines[:0], l.lines[logTailLines:]...)
	}
	l.lines = append(l.lines, string(bytes.TrimRight(b, "\n")))
	return len(b), nil
}

func (l *logTail) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: l.level})).With("node", name)
}

// String returns the last lines.
func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-printedLines):], "\n")
}

func (l *logTail) count(name, text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, "node="+name+" ") && strings.Contains(line, text) {
			n++
		}
	}
	return n
}
