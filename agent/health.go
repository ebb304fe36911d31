package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"iid2secure.nl/camagent/agent/command"
	"iid2secure.nl/camagent/cloud"
)

// health holds what is wrong now: coded conditions, one line each, that the
// owner sees in status. All methods may be called from any goroutine.
type health struct {
	mu   sync.Mutex
	log  *zap.Logger
	now  func() time.Time
	list map[string]command.Condition
}

func newHealth(log *zap.Logger) *health {
	return &health{log: log, now: time.Now, list: map[string]command.Condition{}}
}

// set raises the condition code, or changes its message; it is logged when it
// begins and when it ends, not in between.
func (h *health) set(code, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, was := h.list[code]
	if !was {
		c = command.Condition{Code: code, Since: h.now().UTC().Format(time.RFC3339)}
		h.log.Warn("condition begins", zap.String("code", code), zap.String("message", message))
	}
	c.Message = cloud.OneLine(message)
	h.list[code] = c
}

func (h *health) clear(code string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, was := h.list[code]; was {
		delete(h.list, code)
		h.log.Info("condition ended", zap.String("code", code))
	}
}

// report sets the condition if err is not nil, else clears it.
func (h *health) report(code string, err error) {
	if err != nil {
		h.set(code, err.Error())
	} else {
		h.clear(code)
	}
}

func (h *health) conditions() []command.Condition {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]command.Condition, 0, len(h.list))
	for _, c := range h.list {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b command.Condition) int { return cmp.Compare(a.Code, b.Code) })
	return out
}
