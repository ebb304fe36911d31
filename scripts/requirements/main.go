// Requirements writes docs/requirements.md: each numbered requirement with the
// tests that name it. A number that no test names does not work yet. Run it in
// the project's folder after a test was added or renamed: make docs.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// page is what is written, from the project's folder.
const page = "docs/requirements.md"

func main() {
	text, err := render(".")
	if err == nil {
		err = os.WriteFile(page, []byte(text), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "requirements:", err)
		os.Exit(1)
	}
}

type place struct{ pkg, test string }

// numbers are the requirements that the name of a test begins with, as in
// TestS1_S4_Something. Every fuzz target shows S5.
var numbers = regexp.MustCompile(`^(?:[MPSR][0-9]+_)+`)

// find lists the tests by the numbers in their names.
func find(root string) (map[string][]place, error) {
	found := map[string][]place{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		pkg, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				note(found, filepath.ToSlash(pkg), fn.Name.Name)
			}
		}
		return nil
	})
	return found, err
}

func note(found map[string][]place, pkg, name string) {
	if strings.HasPrefix(name, "Fuzz") {
		found["S5"] = append(found["S5"], place{pkg, name})
		return
	}
	rest, ok := strings.CutPrefix(name, "Test")
	for _, n := range strings.Split(strings.TrimSuffix(numbers.FindString(rest), "_"), "_") {
		if ok && n != "" {
			found[n] = append(found[n], place{pkg, name})
		}
	}
}

func render(root string) (string, error) {
	found, err := find(root)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("# Requirements and their tests\n\nMade by `make docs` from the names of the tests. A number without a test does not work yet.\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| | what | shown by |\n| --- | --- | --- |\n", s.title)
		for _, r := range s.list {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.number, r.what, tests(found[r.number]))
			delete(found, r.number)
		}
	}
	for n := range found {
		return "", fmt.Errorf("test %s names %s, which is no requirement", found[n][0].test, n)
	}
	return b.String(), nil
}

func tests(list []place) string {
	if len(list) == 0 {
		return "–"
	}
	byPkg := map[string][]string{}
	var pkgs []string
	for _, p := range list {
		if byPkg[p.pkg] == nil {
			pkgs = append(pkgs, p.pkg)
		}
		byPkg[p.pkg] = append(byPkg[p.pkg], "`"+p.test+"`")
	}
	slices.Sort(pkgs)
	var out []string
	for _, p := range pkgs {
		slices.Sort(byPkg[p])
		out = append(out, p+": "+strings.Join(byPkg[p], ", "))
	}
	return strings.Join(out, "<br>")
}
