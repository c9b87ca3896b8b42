// Package api serves patina's HTTP API. API.md, beside this file, is its
// reference for those who call it; this is for those who change it.
//
// New builds the handler; Server runs it on a listener, as HTTP/1.1 and h2c,
// until its context ends. The database is reached through Database, the rest of
// the node through the functions in Config. Nothing here starts a goroutine
// outside Server.Run.
//
// A request goes through: the cross-origin check, the slot limit of its class
// (limit.go), its body (body.go), its statements (internal/wire), the database,
// its answer. Whatever refuses it on the way returns an error, and errors.go
// alone turns errors into statuses. Two rules hold throughout. A request that is
// refused ran nothing. After a commit the answer is 200, since clients send a
// write again by themselves when they see a 5xx, and in a leaderless cluster
// that is a second write.
package api
