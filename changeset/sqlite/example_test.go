package sqlite_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/patinadb/patina/changeset"
	"github.com/patinadb/patina/changeset/sqlite"
)

func Example() {
	c, err := sqlite.Open(sqlite.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("CREATE TABLE service(name TEXT PRIMARY KEY, port INTEGER)"); err != nil {
		log.Fatal(err)
	}
	insert, err := c.Cached("INSERT INTO service VALUES(:name, :port)")
	if err != nil {
		log.Fatal(err)
	}
	named := map[string]sqlite.Value{"name": changeset.TextValue("web"), "port": changeset.IntegerValue(80)}
	if err := insert.BindStatement(sqlite.Statement{Named: named}); err != nil {
		log.Fatal(err)
	}
	if err := insert.Run(); err != nil {
		log.Fatal(err)
	}
	err = c.Each("SELECT name, port FROM service WHERE port = ?", []sqlite.Value{changeset.IntegerValue(80)}, func(s *sqlite.Stmt) error {
		fmt.Println(s.Column(0), s.Integer(1))
		return nil
	})
	fmt.Println(err)
	// Output:
	// 'web' 80
	// <nil>
}

func ExampleConn_SetMode() {
	c, err := sqlite.Open(sqlite.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	c.SetMode(sqlite.ModeWrite)
	_, err = c.Cached("CREATE TABLE t(id INTEGER PRIMARY KEY)")
	fmt.Println(err, errors.Is(err, sqlite.ErrAuth))
	// Output:
	// CREATE TABLE is not allowed here: send schema changes to /v1/migrations true
}

func ExampleConn_SetPreupdate() {
	c, err := sqlite.Open(sqlite.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	c.SetPreupdate(func(p *sqlite.Preupdate) {
		old, new := sqlite.Value{}, sqlite.Value{}
		if p.Op() != sqlite.OpInsert {
			old, _ = p.Old(1)
		}
		if p.Op() != sqlite.OpDelete {
			new, _ = p.New(1)
		}
		fmt.Println(p.Op(), p.Table(), old, new)
	})
	err = c.Exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, a);
		INSERT INTO t VALUES(1, 'x');
		UPDATE t SET a = 'y';
		REPLACE INTO t VALUES(1, 'z');
		DELETE FROM t;`)
	fmt.Println(err)
	// Output:
	// INSERT t NULL 'x'
	// UPDATE t 'x' 'y'
	// DELETE t 'y' NULL
	// INSERT t NULL 'z'
	// DELETE t 'z' NULL
	// <nil>
}
