package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

func queryCommand() *cli.Command {
	return &cli.Command{
		Name:        "query",
		Usage:       "run one statement that reads",
		ArgsUsage:   "[SQL]",
		Description: "Reads what this node has. patina query \"SELECT * FROM services\"",
		Flags: []cli.Flag{
			apiFlag(), paramFlag(), jsonFlag("print the node's lines of JSON"),
			&cli.DurationFlag{Name: "timeout", Usage: "end the query after `DURATION`, such as 5s"},
		},
		Action: runQuery,
	}
}

func runQuery(c *cli.Context) error {
	node, err := connect(c)
	if err != nil {
		return err
	}
	defer node.Close()
	list, err := statements(c)
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("query takes one statement, there are %d", len(list))
	}
	rows, err := node.Query(c.Context, list[0], c.Duration("timeout"))
	if err != nil {
		return err
	}
	defer rows.Close()
	if c.Bool("json") {
		return printLines(c, rows)
	}
	g := newGrid(c.App.Writer, rows.Columns()...)
	for rows.Next() {
		if err := g.add(cells(rows.Values())...); err != nil {
			return err
		}
	}
	if err := g.flush(); err != nil {
		return err
	}
	return rows.Err()
}

func printLines(c *cli.Context, rows *client.Rows) error {
	for more := true; more; {
		if _, err := fmt.Fprintf(c.App.Writer, "%s\n", rows.Line()); err != nil {
			return err
		}
		more = rows.Next()
	}
	// The last line is the end, or the error that also ends this command.
	if line := rows.Line(); len(line) > 0 {
		if _, err := fmt.Fprintf(c.App.Writer, "%s\n", line); err != nil {
			return err
		}
	}
	return rows.Err()
}
