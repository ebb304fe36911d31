// Package bind is how a camera comes to belong to somebody: pairing by the label
// (both sides of it), and the roster of members that results. The camera's side
// keeps epoch, bind id, roster and the count of failed pairings in one durable
// file, so that a power cut leaves it bound or unbound and never between.
//
// Only the label (code) and an open window make an owner; nothing that a cloud
// or a broker says does. A bound camera refuses every pairing.
package bind
