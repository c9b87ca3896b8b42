package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

func membersCommand() *cli.Command {
	return &cli.Command{
		Name:  "members",
		Usage: "list the members that a node knows",
		Description: "RTT is the round-trip time, LOSS the share of packets lost on the way there in about the last minute, IN and\n" +
			"OUT the bytes exchanged since the two were last linked.",
		Flags:  []cli.Flag{apiFlag(), jsonFlag("print them as JSON")},
		Action: runMembers,
	}
}

func runMembers(c *cli.Context) error {
	s, err := askStatus(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, s.Members)
	}
	return printMembers(c, &s, "")
}

func printMembers(c *cli.Context, s *client.Status, before string) error {
	g := newGrid(c.App.Writer, "MEMBER", "ADDR", "API", "STATE", "RTT", "LOSS", "IN", "OUT").after(before)
	for _, m := range s.Members {
		rtt := "-"
		switch {
		case m.Actor == s.Actor:
			rtt = "self"
		case m.RTT > 0:
			rtt = time.Duration(m.RTT * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
		}
		loss, in, out := "-", "-", "-"
		if l := m.Link; l != nil {
			loss, in, out = fmt.Sprintf("%.1f%%", 100*l.Loss), size(l.BytesIn), size(l.BytesOut)
		}
		if err := g.add(m.Actor.String(), m.Addr.String(), printable(m.APIAddr), printable(m.State), rtt, loss, in, out); err != nil {
			return fmt.Errorf("print members: %w", err)
		}
	}
	return g.flush()
}

// size prints a number of bytes with its binary unit.
func size(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
