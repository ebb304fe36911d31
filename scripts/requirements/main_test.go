package main

import (
	"os"
	"testing"
)

func TestPageIsUpToDate(t *testing.T) {
	t.Parallel()
	want, err := render("../..")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the tests say: make docs", page)
	}
}
