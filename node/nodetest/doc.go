// Package nodetest runs whole clusters in one process, for tests: real nodes on
// real SQLite files over a packet network in memory that delays, loses,
// duplicates and cuts, with a clock of its own for each node.
//
// It is made for testing/synctest. Inside a bubble nothing waits for real: a
// cluster lives through a minute of heartbeats, partitions and retries in less
// than a second, and time stands still while the test looks. Outside of one it
// works too, in real time.
//
//	synctest.Test(t, func(t *testing.T) {
//		c := nodetest.New(t, nodetest.Config{Nodes: 3, Schema: schema, Link: nodetest.Link{Latency: 50 * time.Millisecond, Loss: 0.1}})
//		c.Member(0).Exec("INSERT INTO item VALUES(1, 'x')")
//		c.AwaitEqual(5 * time.Second)
//	})
//
// Within a bubble, virtual time stands still (and with it the test, for good) as
// long as a goroutine waits for something that the bubble does not know: a mutex
// held by a sleeper, a real socket, or SQLite's wait for a lock that another
// connection keeps over virtual time. So tests open read transactions for the
// moment of a look only, as Content does.
//
// Seeds decide what the network loses and what Storm writes. How goroutines take
// turns is not decided by them: a seed repeats a scenario, not its every step.
package nodetest
