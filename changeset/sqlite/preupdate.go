package sqlite

import (
	"unsafe"

	"github.com/patinadb/patina/changeset"
	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// tablesKept bounds the names that a connection interns for the hook.
const tablesKept = 4096

// Preupdate is a row that is about to change. It is valid during the hook
// alone, and so are the bytes of its values.
type Preupdate struct {
	c        *Conn
	op       Op
	table    uintptr // C string
	old, new int64
}

var preupdateEntry = entryPoint(preupdateC)

func preupdateC(_ *libc.TLS, handle, _ uintptr, op int32, schema, table uintptr, old, new int64) {
	c := connection(handle)
	if c == nil || c.muted || c.hook == nil || *(*byte)(pointer(schema)) != 'm' { // main, not temp
		return
	}
	c.preupdate = Preupdate{c, Op(op), table, old, new}
	c.hook(&c.preupdate)
}

// SetPreupdate calls fn before each change of a row of a user's or an internal
// table, and not for sqlite_master or the like. Statements prepared earlier are
// prepared again by SQLite, since a DELETE without WHERE that was compiled
// without a hook fires none. fn must not run statements that write. The hook is
// not undone by ROLLBACK TO or a failing statement: rows that it saw may never
// have come to be.
func (c *Conn) SetPreupdate(fn func(*Preupdate)) {
	first := c.hook == nil
	c.hook = fn
	if first && fn != nil {
		lib.Xsqlite3_preupdate_hook(c.tls, c.db, preupdateEntry, c.handle)
		// Expires everything prepared so far.
		lib.Xsqlite3_set_authorizer(c.tls, c.db, authorizeEntry, c.handle)
	}
}

// MutePreupdate switches the hook off or on by a flag. To remove it would change
// how statements are compiled.
func (c *Conn) MutePreupdate(mute bool) { c.muted = mute }

// silence takes the hook's address from the engine while a statement is stepped
// with the hook muted: to prepare each call of it costs a tenth of a write. Nobody
// compiles meanwhile but SQLite itself, anew, what is stepped.
func (c *Conn) silence() (hook uintptr) {
	if !c.muted {
		return 0
	}
	db := (*lib.Tsqlite3)(pointer(c.db))
	hook, db.FxPreUpdateCallback = db.FxPreUpdateCallback, 0
	return hook
}

func (c *Conn) speak(hook uintptr) {
	if hook != 0 {
		(*lib.Tsqlite3)(pointer(c.db)).FxPreUpdateCallback = hook
	}
}

// Op returns what happens to the row. REPLACE is a delete for each row in the
// way, then the insert.
func (p *Preupdate) Op() Op { return p.op }

// Table returns the table's name as declared. It allocates only for a table
// that the connection has not met.
func (p *Preupdate) Table() string {
	b := cstring(p.table)
	if name, ok := p.c.tables[string(b)]; ok {
		return name
	}
	if len(p.c.tables) >= tablesKept {
		clear(p.c.tables)
	}
	name := string(b)
	p.c.tables[name] = name
	return name
}

// OldRowid returns the rowid before an update or delete. Like NewRowid it is
// meaningless for a WITHOUT ROWID table.
func (p *Preupdate) OldRowid() int64 { return p.old }

// NewRowid returns the rowid after an update or insert.
func (p *Preupdate) NewRowid() int64 { return p.new }

// Count returns the number of columns of the row, hidden and generated ones
// included, in table_xinfo order.
func (p *Preupdate) Count() int { return int(lib.Xsqlite3_preupdate_count(p.c.tls, p.c.db)) }

// Depth is 0 for a change of the statement itself, 1 for one of its triggers,
// 2 for a trigger that such a change fires, and so on.
func (p *Preupdate) Depth() int { return int(lib.Xsqlite3_preupdate_depth(p.c.tls, p.c.db)) }

// Old returns column i before an update or delete. A VIRTUAL generated column
// is not stored and fails with ErrRange. The value is a view of SQLite's memory.
func (p *Preupdate) Old(i int) (Value, error) {
	c := p.c
	if v := p.unpacked(i, false); v != 0 {
		return c.value(v), nil
	}
	if rc := lib.Xsqlite3_preupdate_old(c.tls, c.db, int32(i), c.scratch+16); rc != lib.SQLITE_OK {
		return Value{}, &Error{Code: Code(rc), Message: Code(rc).Error(), Offset: -1}
	}
	v := c.value(*(*uintptr)(pointer(c.scratch + 16)))
	if v.Kind() == changeset.Integer && c.realColumn(i) {
		return changeset.RealValue(float64(v.Integer())), nil
	}
	return v, nil
}

// realColumn reports that column i of the row under the hook has REAL affinity.
// In such a column no INTEGER exists, but for a row older than the column
// SQLite hands out its default as it was written: 3 for DEFAULT 3.
func (c *Conn) realColumn(i int) bool {
	update := (*lib.TPreUpdate)(pointer((*lib.Tsqlite3)(pointer(c.db)).FpPreUpdate))
	columns := (*lib.TTable)(pointer(update.FpTab)).FaCol
	column := (*lib.TColumn)(unsafe.Add(pointer(columns), uintptr(i)*unsafe.Sizeof(lib.TColumn{})))
	return int(column.Faffinity) == lib.SQLITE_AFF_REAL
}

// New returns column i after an update or insert, as Old does.
func (p *Preupdate) New(i int) (Value, error) {
	c := p.c
	v := uintptr(0)
	if p.op == OpUpdate {
		v = p.register(i)
	} else {
		v = p.unpacked(i, true)
	}
	if v != 0 {
		return c.value(v), nil
	}
	if rc := lib.Xsqlite3_preupdate_new(c.tls, c.db, int32(i), c.scratch+16); rc != lib.SQLITE_OK {
		return Value{}, &Error{Code: Code(rc), Message: Code(rc).Error(), Offset: -1}
	}
	return c.value(*(*uintptr)(pointer(c.scratch + 16))), nil
}

// unpacked returns column i of the row that SQLite has taken apart for an earlier
// call on the same row; 0 where its function does more than to look there: see
// register, and for REAL columns, columns added later and WITHOUT ROWID tables.
func (p *Preupdate) unpacked(i int, new bool) uintptr {
	u := (*lib.TPreUpdate)(pointer((*lib.Tsqlite3)(pointer(p.c.db)).FpPreUpdate))
	row := u.FpUnpacked
	if new {
		row = u.FpNewUnpacked
	}
	t := (*lib.TTable)(pointer(u.FpTab))
	if row == 0 || u.FpPk != 0 || i == int(t.FiPKey) || i < 0 || i >= int(t.FnCol) || t.FtabFlags&lib.TF_HasVirtual != 0 {
		return 0
	}
	r := (*lib.TUnpackedRecord)(pointer(row))
	if i >= int(r.FnField) || p.c.realColumn(i) {
		return 0
	}
	return r.FaMem + uintptr(i)*unsafe.Sizeof(lib.Tsqlite3_value{})
}

// register returns the machine's register that holds column i after an update.
// sqlite3_preupdate_new would copy it, and allocate for that; we only read. It is
// 0 where the function does more: for the rowid, and where columns are stored in
// another order than declared.
func (p *Preupdate) register(i int) uintptr {
	u := (*lib.TPreUpdate)(pointer((*lib.Tsqlite3)(pointer(p.c.db)).FpPreUpdate))
	t := (*lib.TTable)(pointer(u.FpTab))
	if i == int(t.FiPKey) || i < 0 || i >= int(t.FnCol) || t.FtabFlags&lib.TF_HasVirtual != 0 {
		return 0
	}
	const size = unsafe.Sizeof(lib.Tsqlite3_value{})
	return (*lib.TVdbe)(pointer(u.Fv)).FaMem + uintptr(int(u.FiNewReg)+1+i)*size
}
