//go:build chaos

package main

import (
	"fmt"
	"os"
	"time"
)

// testClock returns a wall clock that is off by PATINA_TEST_CLOCK_OFFSET, a
// duration such as -1h, for tests of clock skew between processes.
func testClock() (func() time.Time, error) {
	text := os.Getenv("PATINA_TEST_CLOCK_OFFSET")
	if text == "" {
		return nil, nil
	}
	offset, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Errorf("PATINA_TEST_CLOCK_OFFSET: %w", err)
	}
	return func() time.Time { return time.Now().Add(offset) }, nil
}
