package api

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// object is a JSON object of the document.
type object = map[string]any

// OpenAPI returns the OpenAPI 3.1 document of the API, made from Operations and
// the types; a test holds it against openapi.json beside this file.
func OpenAPI() ([]byte, error) {
	d := document{schemas: object{}}
	paths := map[string]object{}
	for _, op := range Operations() {
		if paths[op.Path] == nil {
			paths[op.Path] = object{}
		}
		paths[op.Path][strings.ToLower(op.Method)] = d.operation(op)
	}
	b, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title":       "camcloud",
			"version":     "1",
			"description": "What an owner's app asks its cloud. The cloud delivers sealed objects; it can open none. Bodies are JSON, at most 16 KiB up and 2 MiB down. Every answer that is not 200 holds a Problem.",
		},
		"security":   []object{{"account": []string{}}},
		"paths":      paths,
		"components": object{"schemas": d.schemas, "securitySchemes": object{"account": object{"type": "http", "scheme": "bearer"}}},
	}, "", "  ")
	return append(b, '\n'), err
}

// document collects the schemas that operations refer to.
type document struct{ schemas object }

func (d document) operation(op Operation) object {
	out := object{"operationId": op.ID, "summary": op.Summary}
	if p := parameters(op); len(p) > 0 {
		out["parameters"] = p
	}
	if op.Request != nil {
		out["requestBody"] = object{"required": true, "content": d.content(op.Request)}
	}
	answers := object{"200": object{"description": "done", "content": d.content(op.Answer)}}
	problem := d.content(reflect.TypeFor[Problem]())
	for _, code := range append([]int{401, 405, 500, 503}, op.Codes...) {
		answers[strconv.Itoa(code)] = object{"description": "refused", "content": problem}
	}
	out["responses"] = answers
	return out
}

func parameters(op Operation) (list []object) {
	if strings.Contains(op.Path, "{serial}") {
		list = append(list, object{"name": "serial", "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range op.Query {
		list = append(list, object{"name": p.Name, "in": "query", "required": p.Required,
			"description": p.Text, "schema": object{"type": p.Type}})
	}
	return list
}

func (d document) content(t reflect.Type) object {
	return object{"application/json": object{"schema": d.schema(t)}}
}

// schema describes a type; structs are named and described once.
func (d document) schema(t reflect.Type) object {
	switch t.Kind() {
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Uint64:
		return object{"type": "integer", "format": "int64", "minimum": 0}
	case reflect.Int:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	}
	if _, done := d.schemas[t.Name()]; !done {
		d.schemas[t.Name()] = d.record(t)
	}
	return object{"$ref": "#/components/schemas/" + t.Name()}
}

func (d document) record(t reflect.Type) object {
	props, required := object{}, []string{}
	for f := range t.Fields() {
		name, opt, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		props[name] = d.schema(f.Type)
		if opt != "omitempty" {
			required = append(required, name)
		}
	}
	return object{"type": "object", "properties": props, "required": required}
}
