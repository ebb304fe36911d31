package bind

import (
	"fmt"
	"time"

	"iid2secure.nl/camagent/cloud/tlscert"
)

// openLive reads the authority of the live server, or makes one for a binding
// that is older than those.
func (s *Store) openLive() (err error) {
	if s.st.BindID == "" {
		return nil
	}
	if s.st.Live == "" {
		return s.update(func(*state) error { return nil })
	}
	if s.live, err = tlscert.Parse(s.st.Live); err != nil {
		return fmt.Errorf("binding: %s: %w; only a factory reset helps", s.path, err)
	}
	return nil
}

// authority is that of the live server in st: one for each epoch, none while unbound.
func (s *Store) authority(st *state) (*tlscert.Authority, error) {
	if st.BindID == "" {
		st.Live = ""
		return nil, nil
	}
	if s.live != nil && st.Epoch == s.st.Epoch {
		return s.live, nil
	}
	live, err := tlscert.New()
	if err == nil {
		st.Live, err = live.Marshal()
	}
	if err != nil {
		return nil, fmt.Errorf("binding: %w", err)
	}
	return live, nil
}

// Live is the authority by which viewers know this camera in this epoch; not ok
// while unbound.
func (s *Store) Live() (*tlscert.Authority, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, s.live != nil
}

// NextExpiry is how long it is until the next member expires, by the clock of
// SetClock; not ok if nobody will. While that clock is not synced, it is a guess
// of at least a second.
func (s *Store) NextExpiry() (in time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, synced := s.now()
	for _, m := range s.st.Members {
		left := time.Unix(m.Expires, 0).Sub(now)
		if m.Expires == 0 || synced && left <= 0 {
			continue
		}
		if !synced {
			left = max(left, time.Second)
		}
		if !ok || left < in {
			in, ok = left, true
		}
	}
	return in, ok
}
