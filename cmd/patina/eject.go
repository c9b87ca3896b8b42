package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/patinadb/patina/changeset/store"
)

func ejectCommand() *cli.Command {
	return &cli.Command{
		Name:      "eject",
		Usage:     "make the database of a stopped node a plain SQLite file again",
		ArgsUsage: "FILE",
		Description: "Internal tables and the files beside the database go, the journal mode is that of before \"patina adopt\", and\n" +
			"the file is vacuumed. As VACUUM always may, that numbers rows anew that have no declared number: what a plain\n" +
			"table keeps of such rowids is then wrong. Where VACUUM would do harm to a virtual table, or cannot make a table\n" +
			"anew for want of a collation or function that only another program has, the reason is printed, and the file\n" +
			"keeps its size, with zeros in the place of what was dropped. Tables and rows stay as they are. The node's\n" +
			"history is lost: if it starts on the file again, after \"patina adopt\", it is a new actor. A run that was\n" +
			"ended is finished by another one.",
		Action: runEject,
	}
}

func runEject(c *cli.Context) error {
	file, err := databaseArgument(c)
	if err != nil {
		return err
	}
	out, err := store.Eject(store.Config{Path: file})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "internal tables dropped %d\njournal mode %s\n", out.Tables, out.Journal)
	if err == nil && out.Unpacked != "" {
		_, err = fmt.Fprintf(c.App.Writer, "not vacuumed: %s\n", printable(out.Unpacked))
	}
	return err
}
