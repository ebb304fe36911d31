package verify

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/cloud/seal"
)

// Gap is a signed gap that has been verified.
type Gap struct {
	cloud.Gap
	Hash string // of the statement's text: the next one's Prev
}

// Gap verifies the gap that was asked for by name, without ending: signature,
// kind, camera, binding, and that every field is possible. S10. Errors are *Error.
func (c Camera) Gap(name, token string) (Gap, error) {
	token = strings.TrimSpace(token)
	var g cloud.Gap
	err := seal.Verify(cloud.TypGap, c.Signing, token, &g)
	if err == nil {
		err = c.checkGap(name, g)
	}
	if err != nil {
		return Gap{}, &Error{name, fmt.Errorf("gap: %w", err)}
	}
	return Gap{Gap: g, Hash: seal.Hash(token)}, nil
}

func (c Camera) checkGap(name string, g cloud.Gap) error {
	if err := c.checkLink(name, link{g.Statement, g.Name, g.Stream, g.Sequence, g.Prev}); err != nil {
		return err
	}
	if !slices.Contains([]cloud.GapReason{cloud.GapRetention, cloud.GapCard, cloud.GapCut, cloud.GapOff, cloud.GapLost}, g.Reason) {
		return errors.New("names no reason that is known: is this camctl too old?")
	}
	for _, s := range g.Missing {
		if s.From == 0 || s.From > s.To || s.To >= g.Sequence {
			return fmt.Errorf("tells of numbers %d to %d, want some below its own, %d", s.From, s.To, g.Sequence)
		}
	}
	return nil
}

// Details opens what only members may know of the gap.
func (g Gap) Details(secret cloud.Secret) (cloud.GapDetails, error) {
	var d cloud.GapDetails
	b, err := seal.OpenBytes(g.Gap.Details, secret)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		return cloud.GapDetails{}, &Error{g.Name, fmt.Errorf("details: %w", err)}
	}
	return d, nil
}
