package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Key  string // path, as in the file
	Have string // the value, quoted, or what is wrong
	Want string // what is allowed
}

func (p Problem) Error() string { return fmt.Sprintf("%s: is %s, want %s", p.Key, p.Have, p.Want) }

// Error lists all problems of one configuration, a line each. R9.
type Error struct {
	File     string // "" if none was read
	Problems []Problem
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	where := "configuration"
	if e.File != "" {
		where = e.File
	}
	return where + ": " + strings.Join(lines, "\n"+where+": ")
}

// Checks collects what is wrong with values that have the right type. Of a key
// with several problems only the first is told.
type Checks struct{ problems []Problem }

// Want notes a problem with key unless ok holds.
func (c *Checks) Want(ok bool, key string, have any, want string) {
	if !ok && !slices.ContainsFunc(c.problems, func(p Problem) bool { return p.Key == key }) {
		c.problems = append(c.problems, Problem{key, fmt.Sprintf("%q", fmt.Sprint(have)), want})
	}
}

// OneOf wants one of the allowed words.
func (c *Checks) OneOf(key, have string, allowed ...string) {
	c.Want(slices.Contains(allowed, have), key, have, "one of "+strings.Join(allowed, ", "))
}

// Between wants a number from low to high.
func (c *Checks) Between(key string, have, low, high int) {
	c.Want(have >= low && have <= high, key, have, fmt.Sprintf("%d to %d", low, high))
}

// Duration wants one from low to high.
func (c *Checks) Duration(key string, have, low, high time.Duration) {
	c.Want(have >= low && have <= high, key, have, fmt.Sprintf("%s to %s", low, high))
}

// Address wants host:port.
func (c *Checks) Address(key, have string) {
	host, err := splitAddress(have)
	c.Want(err == nil && host != "", key, have, "host:port")
}

// Listen wants host:port, or :port for all addresses of this machine.
func (c *Checks) Listen(key, have string) {
	_, err := splitAddress(have)
	c.Want(err == nil, key, have, "host:port or :port")
}

func splitAddress(text string) (host string, err error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	return host, err
}
