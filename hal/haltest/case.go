package haltest

import (
	"context"
	"slices"
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
	return slices.Concat(
		listCases(),
		filmCases(),
		steerCases(),
		lifeCases(),
		pictureCases(),
		soundCases(),
		lightCases(),
		turnCases(),
		panelCases(),
		storeCases(),
		unplugCases(),
		leftoverCases(),
	)
}
