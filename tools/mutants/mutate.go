package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one change of the code.
type mutant struct {
	id   int
	file string // from the module's folder
	line int
	what string // the text, and what it is changed to
	name string // file and what: the same as long as the code is
}

// insertion is a text to insert into a file.
type insertion struct {
	at, until int // the text between is replaced
	text      string
	depth     int // of the node: outer texts go around inner ones
	closes    bool
}

// mutator finds the mutants of one file. All of them are compiled in. When a mutant is
// reached, it asks whether it is the one to run.
type mutator struct {
	fset    *token.FileSet
	info    *types.Info
	pkg     *types.Package
	file    *ast.File
	path    string
	source  []byte
	next    func() int
	depth   int
	edits   []insertion
	mutants []mutant
}

func (m *mutator) offset(p token.Pos) int { return m.fset.Position(p).Offset }

func (m *mutator) text(n ast.Node) string {
	text := strings.Join(strings.Fields(string(m.source[m.offset(n.Pos()):m.offset(n.End())])), " ")
	if len(text) > 90 {
		text = text[:87] + "..."
	}
	return text
}

// wrap adds a mutant of a node, with text before and behind it. before may have %d for
// the number of the mutant.
func (m *mutator) wrap(n ast.Node, before, behind, what string) {
	id := m.next()
	m.edits = append(m.edits,
		insertion{at: m.offset(n.Pos()), until: m.offset(n.Pos()), text: fmt.Sprintf(before, id), depth: m.depth},
		insertion{at: m.offset(n.End()), until: m.offset(n.End()), text: behind, depth: m.depth, closes: true})
	m.depth++
	m.mutants = append(m.mutants, mutant{id: id, file: m.path, line: m.fset.Position(n.Pos()).Line, what: what})
}

func (m *mutator) run() {
	for _, d := range m.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body != nil {
				m.visit(d.Body, nil)
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				for _, s := range d.Specs {
					for _, v := range s.(*ast.ValueSpec).Values {
						m.visit(v, nil)
					}
				}
			}
		}
	}
	counts := map[string]int{}
	for i := range m.mutants {
		name := m.path + ": " + m.mutants[i].what
		if counts[name]++; counts[name] > 1 {
			name += fmt.Sprintf(" (%d)", counts[name])
		}
		m.mutants[i].name = name
	}
}

// visit looks for mutants in a node and below it.
func (m *mutator) visit(n, parent ast.Node) {
	depth := m.depth
	defer func() { m.depth = depth }()
	switch n := n.(type) {
	case *ast.BasicLit, *ast.Ident, *ast.SelectorExpr, *ast.ParenExpr, *ast.UnaryExpr, *ast.BinaryExpr, *ast.CallExpr:
		if m.constant(n.(ast.Expr)) {
			return
		}
	case *ast.ArrayType, *ast.MapType, *ast.ChanType, *ast.FuncType, *ast.StructType, *ast.InterfaceType:
		return
	}
	if s, ok := n.(ast.Stmt); ok && inList(n, parent) && removable(s) {
		m.wrap(n, "if !mutant(%d) { ", " }", "no `"+m.text(n)+"`")
	}
	if e, ok := n.(ast.Expr); ok && m.isCondition(e, parent) {
		m.wrap(n, "mutantNot(%d, ", ")", "`"+m.text(n)+"` is turned round")
	}
	if b, ok := n.(*ast.BinaryExpr); ok {
		m.boundary(b)
	}
	ast.Inspect(n, func(child ast.Node) bool {
		if child == nil || child == n {
			return child != nil
		}
		switch p := n.(type) {
		case *ast.KeyValueExpr:
			if child == p.Key {
				return false
			}
		case *ast.SelectorExpr:
			if child == p.Sel {
				return false
			}
		case *ast.TypeAssertExpr:
			if child == p.Type {
				return false
			}
		case *ast.CompositeLit:
			if child == p.Type {
				return false
			}
		case *ast.DeclStmt:
			if p.Decl.(*ast.GenDecl).Tok != token.VAR {
				return false
			}
		case *ast.AssignStmt: // what is assigned to is no value
			if p.Tok == token.DEFINE && slices.Contains(p.Lhs, toExpr(child)) {
				return false
			}
		}
		m.visit(child, n)
		return false
	})
}

func toExpr(n ast.Node) ast.Expr { e, _ := n.(ast.Expr); return e }

func inList(n, parent ast.Node) bool {
	switch parent := parent.(type) {
	case *ast.BlockStmt, *ast.CaseClause:
		return true
	case *ast.CommClause:
		return n != parent.Comm
	}
	return false
}

// removable reports whether a statement can be left out, and the code still compiles.
func removable(s ast.Stmt) bool {
	switch s := s.(type) {
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
		return true
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE
	case *ast.ReturnStmt:
		return len(s.Results) == 0
	case *ast.BranchStmt:
		return s.Tok == token.CONTINUE || s.Tok == token.BREAK
	}
	return false
}

// isCondition reports whether an expression is one that decides by itself.
func (m *mutator) isCondition(e ast.Expr, parent ast.Node) bool {
	t := m.info.TypeOf(e)
	if t == nil || !isBool(t) {
		return false
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return false
	case *ast.UnaryExpr:
		return false
	case *ast.BinaryExpr:
		if e.Op == token.LAND || e.Op == token.LOR {
			return false
		}
		if _, ok := parent.(*ast.AssignStmt); ok {
			return true
		}
	}
	switch p := parent.(type) {
	case *ast.IfStmt:
		return e == p.Cond
	case *ast.ForStmt:
		return e == p.Cond
	case *ast.ReturnStmt, *ast.CaseClause, *ast.ParenExpr:
		return true
	case *ast.UnaryExpr:
		return p.Op == token.NOT
	case *ast.BinaryExpr:
		return p.Op == token.LAND || p.Op == token.LOR
	}
	return false
}

func isBool(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsBoolean != 0 && types.Identical(types.Default(t), types.Typ[types.Bool])
}

var boundaries = map[token.Token][2]string{
	token.LSS: {"mutantLess", "<="}, token.LEQ: {"mutantLessOrEqual", "<"},
	token.GTR: {"mutantGreater", ">="}, token.GEQ: {"mutantGreaterOrEqual", ">"},
}

// boundary moves the bound of a comparison by one.
func (m *mutator) boundary(b *ast.BinaryExpr) {
	to, ok := boundaries[b.Op]
	if !ok {
		return
	}
	m.wrap(b, to[0]+"(%d, ", ")", fmt.Sprintf("`%s` with %s", m.text(b), to[1]))
	at := m.offset(b.OpPos)
	m.edits = append(m.edits, insertion{at: at, until: at + len(b.Op.String()), text: ",", depth: m.depth})
}

// constant changes a constant, if the expression is one.
func (m *mutator) constant(e ast.Expr) bool {
	tv, ok := m.info.Types[e]
	if !ok || tv.Value == nil {
		return false
	}
	if tv.Value.Kind() == constant.Bool && isBool(tv.Type) {
		m.wrap(e, "mutantNot(%d, ", ")", "`"+m.text(e)+"` is turned round")
		return true
	}
	basic, ok := tv.Type.Underlying().(*types.Basic)
	if !ok || basic.Info()&types.IsUntyped != 0 || basic.Info()&types.IsInteger == 0 {
		return true
	}
	outside := false
	name := types.TypeString(tv.Type, func(p *types.Package) string {
		if p == m.pkg {
			return ""
		}
		outside = outside || !slices.ContainsFunc(m.file.Imports, func(i *ast.ImportSpec) bool {
			return i.Name == nil && i.Path.Value == `"`+p.Path()+`"`
		})
		return p.Name()
	})
	if outside {
		return true
	}
	if name == "time.Duration" {
		if constant.Sign(tv.Value) != 0 {
			m.wrap(e, "mutantTimes["+name+"](%d, 2, 1, ", ")", "`"+m.text(e)+"` twice as long")
			m.wrap(e, "mutantTimes["+name+"](%d, 1, 2, ", ")", "`"+m.text(e)+"` half as long")
		}
		return true
	}
	m.wrap(e, "mutantPlus["+name+"](%d, ", ")", "`"+m.text(e)+"` plus 1")
	return true
}

// mutated returns the text of the file with all mutants in it.
func (m *mutator) mutated() []byte {
	slices.SortStableFunc(m.edits, func(a, b insertion) int {
		if c := cmp.Compare(a.at, b.at); c != 0 {
			return c
		}
		if a.closes != b.closes { // what ends here, before what begins
			if a.closes {
				return -1
			}
			return 1
		}
		if a.closes {
			return cmp.Compare(b.depth, a.depth)
		}
		return cmp.Compare(a.depth, b.depth)
	})
	var out []byte
	at := 0
	for _, e := range m.edits {
		out = append(out, m.source[at:e.at]...)
		out = append(out, e.text...)
		at = e.until
	}
	return append(out, m.source[at:]...)
}

// runtime is added to each package: whether a mutant is the one to run.
const runtime = `package %s

import (
	"cmp"
	"os"
	"strconv"
	"sync"
)

var (
	mutantToRun = func() int { n, _ := strconv.Atoi(os.Getenv("MUTANT")); return n }()
	mutantTrace = func() *os.File {
		f, err := os.OpenFile(os.Getenv("MUTANT_TRACE"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil
		}
		return f
	}()
	mutantsSeen sync.Map
)

func mutant(n int) bool {
	if mutantTrace != nil {
		if _, seen := mutantsSeen.LoadOrStore(n, true); !seen {
			_, _ = mutantTrace.WriteString(strconv.Itoa(n) + "\n")
		}
	}
	return n == mutantToRun
}

func mutantNot(n int, b bool) bool { return b != mutant(n) }

func mutantLess[T cmp.Ordered](n int, a, b T) bool           { return a < b || a == b && mutant(n) }
func mutantLessOrEqual[T cmp.Ordered](n int, a, b T) bool    { return a < b || a == b && !mutant(n) }
func mutantGreater[T cmp.Ordered](n int, a, b T) bool        { return a > b || a == b && mutant(n) }
func mutantGreaterOrEqual[T cmp.Ordered](n int, a, b T) bool { return a > b || a == b && !mutant(n) }

type mutantInteger interface {
	~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr
}

func mutantPlus[T mutantInteger](n int, v T) T {
	if mutant(n) {
		return v + 1
	}
	return v
}

func mutantTimes[T mutantInteger](n int, times, by, v T) T {
	if mutant(n) {
		return v / by * times
	}
	return v
}
`
