// Package command is the catalogue of what a member can ask of a camera: one
// table of names, permissions, argument and reply types. The camera executes
// from it, camctl calls by it, and the documentation is made from it. It holds
// no behaviour: the agent binds a handler to every entry.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"iid2secure.nl/camagent/cloud"
	"iid2secure.nl/camagent/hal"
)

// Entry is one row of the catalogue.
type Entry struct {
	Name       string
	Permission cloud.Permission // "": any member
	Needs      string           // the capability that the camera must have; "": none
	Help       string
}

// Definition is an entry with its types: A the arguments, R the reply, both
// plain JSON structs. If *A has Validate() error, it is called on arrival.
type Definition[A, R any] struct{ Entry }

// Caller performs a call on a camera; *channel.Client is one.
type Caller interface {
	Call(ctx context.Context, name string, args, result any) error
}

// Call performs the command on a camera, for apps.
func (d Definition[A, R]) Call(ctx context.Context, c Caller, args A) (R, error) {
	var r R
	err := c.Call(ctx, d.Name, args, &r)
	return r, err
}

// Handler carries out one command for a member; bytes in, bytes out.
type Handler func(ctx context.Context, member string, args json.RawMessage) (json.RawMessage, error)

// Bind makes a Handler of fn: arguments are decoded strictly and validated.
func (d Definition[A, R]) Bind(fn func(ctx context.Context, member string, args A) (R, error)) (string, Handler) {
	return d.Name, func(ctx context.Context, member string, raw json.RawMessage) (json.RawMessage, error) {
		var args A
		if err := decode(raw, &args); err != nil {
			return nil, cloud.Refuse(cloud.CodeArgument, "%s: %v", d.Name, err)
		}
		r, err := fn(ctx, member, args)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	}
}

// decode reads one JSON value strictly: unknown fields, trailing bytes and
// what Validate refuses are errors.
func decode(raw json.RawMessage, v any) error {
	if len(raw) > 0 {
		if err := cloud.DecodeStrict(raw, v); err != nil {
			return describe(err)
		}
	}
	if c, ok := v.(interface{ Validate() error }); ok {
		return c.Validate()
	}
	return nil
}

func describe(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fmt.Errorf("%s: is a %s, want %s", t.Field, t.Value, t.Type)
	}
	return err
}

// Executor runs commands: it looks them up, checks the permission, and turns
// errors into refusals.
type Executor struct {
	handlers  map[string]Handler
	permitted func(member string, p cloud.Permission) bool
	able      func(capability string) bool
}

// NewExecutor makes an Executor; handlers come from Bind. It is an error if one
// is missing or is in no catalogue. able tells what the camera can do.
func NewExecutor(permitted func(member string, p cloud.Permission) bool, able func(capability string) bool, handlers map[string]Handler) (*Executor, error) {
	for _, e := range All() {
		if handlers[e.Name] == nil {
			return nil, fmt.Errorf("command %s has no handler", e.Name)
		}
	}
	for name := range handlers {
		if _, ok := Find(name); !ok {
			return nil, fmt.Errorf("handler %s is in no catalogue", name)
		}
	}
	return &Executor{handlers: handlers, permitted: permitted, able: able}, nil
}

// Execute carries out cmd for member and makes the reply (without Uptime).
func (x *Executor) Execute(ctx context.Context, member string, cmd cloud.Command) cloud.Reply {
	reply := cloud.Reply{V: 1, ID: cmd.ID}
	entry, ok := Find(cmd.Name)
	switch {
	case !ok:
		reply.Error = cloud.Refuse(cloud.CodeUnknown, "unknown command %q", clip(cmd.Name))
		return reply
	case !x.permitted(member, entry.Permission):
		reply.Error = cloud.Refuse(cloud.CodePermission, "%s needs the permission %q", entry.Name, entry.Permission)
		return reply
	case entry.Needs != "" && !x.able(entry.Needs):
		reply.Error = cloud.Refuse(cloud.CodeUnable, "%s: this camera can't do %s", entry.Name, entry.Needs)
		return reply
	}
	result, err := x.handlers[entry.Name](ctx, member, cmd.Args)
	if err == nil {
		reply.Result = result
		return reply
	}
	if !errors.As(err, &reply.Error) {
		reply.Error = cloud.Refuse(codeOf(err), "%s: %v", entry.Name, err)
	}
	return reply
}

// codeOf tells by which code an error is refused.
func codeOf(err error) string {
	switch {
	case errors.Is(err, hal.ErrUnable):
		return cloud.CodeUnable
	case errors.Is(err, hal.ErrArgument):
		return cloud.CodeArgument
	}
	return cloud.CodeFailed
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// All lists the catalogue.
func All() []Entry { return slices.Clone(table) }

// Find looks a command up.
func Find(name string) (Entry, bool) {
	i := slices.IndexFunc(table, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return table[i], true
}
