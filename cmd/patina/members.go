package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

func membersCommand() *cli.Command {
	return &cli.Command{
		Name:   "members",
		Usage:  "list the members that a node knows",
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
	g := newGrid(c.App.Writer, "MEMBER", "ADDR", "API", "STATE", "RTT").after(before)
	for _, m := range s.Members {
		rtt := "-"
		switch {
		case m.Actor == s.Actor:
			rtt = "self"
		case m.RTT > 0:
			rtt = time.Duration(m.RTT * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
		}
		if err := g.add(m.Actor.String(), m.Addr.String(), printable(m.APIAddr), printable(m.State), rtt); err != nil {
			return fmt.Errorf("print members: %w", err)
		}
	}
	return g.flush()
}
