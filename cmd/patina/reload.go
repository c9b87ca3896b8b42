package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func reloadCommand() *cli.Command {
	return &cli.Command{
		Name:        "reload",
		Usage:       "make a node read its configuration and schema files again",
		Description: "As SIGHUP does. The node takes it from its own machine only.",
		Flags:       []cli.Flag{apiFlag(), jsonFlag("print the notes as JSON")},
		Action:      runReload,
	}
}

func runReload(c *cli.Context) error {
	node, err := connect(c)
	if err != nil {
		return err
	}
	defer node.Close()
	notes, err := node.Reload(c.Context)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(c, map[string][]string{"notes": notes})
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(c.App.Writer, printable(note)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(c.App.Writer, "reloaded")
	return err
}
