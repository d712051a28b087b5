package check

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// setEnvironment sets the environment variables of files, as the flag --env-file of
// the command run does.
func setEnvironment(patterns []string) error {
	files, err := read(patterns)
	if err != nil {
		return err
	}
	for _, file := range files {
		lines := strings.Split(file.YAML, "\n")
		for i := 0; i < len(lines); i++ {
			at, line := i+1, lines[i]
			for strings.Count(line, triple) == 1 && i+1 < len(lines) {
				i++
				line += "\n" + lines[i]
			}
			name, value, err := variableOf(line)
			if err == nil && name != "" {
				err = os.Setenv(name, value)
			}
			if err != nil {
				return fmt.Errorf("reading line %d of %s: %w", at, file.Name, err)
			}
		}
	}
	return nil
}

// triple are the quotes around a value of several lines.
const triple = `"""`

// variableOf reads an assignment such as NAME=value, or NAME="a value" # and a comment.
// It takes what run takes. Its errors do not quote the line, which may have a secret.
func variableOf(line string) (name, value string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return "", "", nil
	}
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" || strings.ContainsAny(name, " \t#") {
		return "", "", errors.New("it is not of the form NAME=value")
	}
	rest := ""
	switch {
	case strings.HasPrefix(value, triple):
		value, rest, ok = strings.Cut(value[len(triple):], triple)
	case strings.HasPrefix(value, `"`):
		var quoted string
		quoted, err = strconv.QuotedPrefix(value)
		rest, ok = value[len(quoted):], err == nil
		value, _ = strconv.Unquote(quoted)
	default:
		value, _, _ = strings.Cut(value, "#")
		value = strings.TrimSpace(value)
		if strings.Contains(value, " ") {
			return "", "", fmt.Errorf("the value of %s has a space: put it in quotes", name)
		}
	}
	rest = strings.TrimSpace(rest)
	switch {
	case !ok:
		return "", "", fmt.Errorf("the quotes of %s do not end", name)
	case rest != "" && rest[0] != '#':
		return "", "", fmt.Errorf("there is more behind the quotes of %s", name)
	}
	return name, value, nil
}
