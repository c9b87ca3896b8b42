package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/changeset/store"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "compare the database of a stopped node with itself",
		ArgsUsage: "FILE",
		Description: "Runs SQLite's quick_check, compares every row with its clock and every clock with its row, the clock\n" +
			"sums with the clocks, and the log with what is recorded as applied. Prints what differs; then the exit\n" +
			"status is 1. The file stays as it is, but with --repair: then rows that another program wrote become\n" +
			"versions of this node, which peers get, rows that it removed become deletions, and sums are made anew;\n" +
			"what still differs is printed. Values that it changed in a row that stays do not show, and a table that\n" +
			"it dropped or took columns of is named and left alone.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "make the clocks agree with the rows, then check"},
			jsonFlag("print JSON"),
		},
		Action: runCheck,
	}
}

// databaseArgument returns the one FILE of a verb that works on a database.
func databaseArgument(c *cli.Context) (string, error) {
	if err := flagsFirst(c); err != nil {
		return "", err
	}
	if c.NArg() != 1 {
		return "", fmt.Errorf("%s takes one database file", c.Command.Name)
	}
	return c.Args().First(), nil
}

func runCheck(c *cli.Context) error {
	file, err := databaseArgument(c)
	if err != nil {
		return err
	}
	if c.Bool("repair") {
		if err := repair(c, file); err != nil {
			return err
		}
	}
	r, err := store.Check(c.Context, store.Config{Path: file})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = printJSON(c, r)
	} else {
		err = printReport(c, r)
	}
	if err == nil && !r.Clean() {
		err = errDiffers
	}
	return err
}

// repair repairs a database and says what it did, on standard error where standard
// output is JSON.
func repair(c *cli.Context, file string) error {
	done, err := store.Repair(c.Context, store.Config{Path: file})
	if err != nil {
		return err
	}
	out := c.App.Writer
	if c.Bool("json") {
		out = c.App.ErrWriter
	}
	_, err = fmt.Fprintf(out, "repaired: rows inserted %d, deleted %d; clocks dropped %d, made anew %d; versions %d\n", done.Inserted, done.Deleted, done.Dropped, done.Damaged, done.Versions)
	return err
}

// errDiffers makes the exit status say what the report said.
var errDiffers = errors.New("the database disagrees with itself")

// printReport prints one line for each kind of difference.
func printReport(c *cli.Context, r *store.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "actor %v\ntables %d, rows %d, clocks %d, log entries %d, parked %d\n", r.Actor, r.Tables, r.Rows, r.Clocks, r.Log, r.Parked)
	for _, f := range r.Findings {
		if f.Table != "" {
			fmt.Fprintf(&b, "table %s: ", printable(f.Table))
		}
		fmt.Fprintf(&b, "%s: %d", f.What, f.Count)
		for i, example := range f.Examples {
			fmt.Fprintf(&b, "%s%s", map[bool]string{true: ": ", false: "; "}[i == 0], printable(example))
		}
		if int64(len(f.Examples)) < f.Count && len(f.Examples) > 0 {
			b.WriteString("; …")
		}
		b.WriteByte('\n')
	}
	if r.Clean() {
		b.WriteString("nothing differs\n")
	}
	_, err := fmt.Fprint(c.App.Writer, b.String())
	return err
}
