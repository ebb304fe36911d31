package haltest

import (
	"context"
	"time"
)

// Case is one sentence of the contract.
type Case struct {
	Name    string `json:"name"`    // "first-frame"
	Promise string `json:"promise"` // the sentence
	Catches string `json:"catches"` // the bug that usually breaks it

	within time.Duration // the time limit
	run    func(ctx context.Context, s *subject) error
}

// Cases lists the suite in the order in which Run goes through it.
func Cases() []Case {
	var list []Case
	for _, group := range [][]Case{} {
		list = append(list, group...)
	}
	return list
}
