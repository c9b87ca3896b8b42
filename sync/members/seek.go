package members

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// How addresses are called. Alone we call up to three at a time, after pauses that
// double; in company one at a time, about every ten seconds.
const (
	callsAlone     = 3
	firstPause     = 500 * time.Millisecond
	longPause      = 10 * time.Second
	resolveTimeout = 5 * time.Second
)

// seek looks for members that are not here, until ctx is done or we leave.
func (m *Members) seek(ctx context.Context, list *memberlist.Memberlist) {
	pause := firstPause
	for {
		m.mu.Lock()
		alone, leaving := !m.roster.company(), m.leaving
		m.mu.Unlock()
		if leaving {
			return
		}
		if targets := m.targets(ctx, alone); len(targets) > 0 {
			if n, err := list.Join(targets); err != nil || n == 0 {
				m.cfg.Log.Debug("no seed or dead member answered", "component", "members", "err", err)
			}
		}
		if alone {
			pause = min(2*pause, longPause)
		} else {
			pause = longPause
		}
		// Between half of the pause and one and a half.
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-m.call:
			pause = firstPause
		case <-timer.C:
		}
		timer.Stop()
	}
}

// targets chooses the addresses to call now.
func (m *Members) targets(ctx context.Context, alone bool) []string {
	m.mu.Lock()
	seeds := m.seeds
	m.mu.Unlock()
	resolved := m.resolve(ctx, seeds)
	m.mu.Lock()
	absent := m.roster.absent(resolved)
	m.mu.Unlock()
	rand.Shuffle(len(absent), func(i, j int) { absent[i], absent[j] = absent[j], absent[i] })
	m.mu.Lock()
	refuted := m.roster.refuted()
	m.mu.Unlock()
	limit := 1
	if len(refuted) > 0 { // it is here: tell the library
		absent = append(refuted, absent...)
	}
	if alone {
		limit = callsAlone
	}
	var out []string
	for _, a := range absent[:min(limit, len(absent))] {
		out = append(out, a.String())
	}
	return out
}

// seed is a host, by name or address, and a port.
type seed struct {
	host string
	port uint16
}

func parseSeeds(texts []string) ([]seed, error) {
	seeds := make([]seed, 0, len(texts))
	for _, text := range texts {
		host, digits, err := net.SplitHostPort(text)
		if err != nil {
			return nil, fmt.Errorf("%w: seed %q is not host:port: %w", ErrConfig, text, err)
		}
		port, err := strconv.ParseUint(digits, 10, 16)
		if err != nil || port == 0 || host == "" {
			return nil, fmt.Errorf("%w: seed %q is not host:port", ErrConfig, text)
		}
		seeds = append(seeds, seed{host, uint16(port)})
	}
	return seeds, nil
}

// resolve turns seeds into addresses; what cannot be resolved now is left out.
func (m *Members) resolve(ctx context.Context, seeds []seed) []netip.AddrPort {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	var out []netip.AddrPort
	for _, s := range seeds {
		addrs, err := m.lookup(ctx, s.host)
		if err != nil {
			m.cfg.Log.Debug("seed not resolved", "component", "members", "peer", s.host, "err", err)
			continue
		}
		for _, a := range addrs {
			out = append(out, netip.AddrPortFrom(a.Unmap(), s.port))
		}
	}
	return out
}

func (m *Members) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	return m.cfg.Resolve(ctx, host)
}
