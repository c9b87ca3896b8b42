// Package node puts a patina node together: it reads the configuration, wires
// the store, the mesh and the API through the small interfaces that each of
// them declares, owns every goroutine, and stops them in one order.
//
// It holds no protocol logic. ARCHITECTURE.md shows the picture.
package node
