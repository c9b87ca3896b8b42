package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/api/client"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run statements in one transaction",
		ArgsUsage: "[SQL …]",
		Description: "Runs the statements of all arguments, or of standard input, all or nothing.\n" +
			"patina exec \"INSERT INTO services(id, name) VALUES(1, 'web')\"",
		Flags:  []cli.Flag{apiFlag(), paramFlag(), jsonFlag("print the node's answer")},
		Action: runExec,
	}
}

func runExec(c *cli.Context) error {
	node, err := connect(c)
	if err != nil {
		return err
	}
	defer node.Close()
	list, err := statements(c)
	if err != nil {
		return err
	}
	answer, err := node.Transact(c.Context, list)
	if err != nil {
		return err
	}
	return printAnswer(c, &answer)
}

// printAnswer prints what became of a transaction or a migration. Of one that
// failed nothing holds, so there is nothing to print but the error.
func printAnswer(c *cli.Context, a *client.Answer) error {
	out := c.App.Writer
	if c.Bool("json") {
		if _, err := out.Write(a.JSON); err != nil {
			return err
		}
		return a.Err()
	}
	if err := a.Err(); err != nil {
		return err
	}
	for i := range a.Results {
		if err := printResult(out, &a.Results[i]); err != nil {
			return err
		}
	}
	if a.Version == 0 {
		_, err := fmt.Fprintln(out, "nothing replicated changed")
		return err
	}
	_, err := fmt.Fprintf(out, "version %d of %v\n", a.Version, a.Actor)
	return err
}

func printResult(out io.Writer, r *client.Result) error {
	if !r.HasRows {
		rows := "rows"
		if r.RowsAffected == 1 {
			rows = "row"
		}
		_, err := fmt.Fprintf(out, "%d %s affected, last insert id %d\n", r.RowsAffected, rows, r.LastInsertID)
		return err
	}
	g := newGrid(out, r.Columns...)
	for _, row := range r.Rows {
		if err := g.add(cells(row)...); err != nil {
			return err
		}
	}
	return g.flush()
}
