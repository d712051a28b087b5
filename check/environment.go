package check

import (
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
		for i, line := range strings.Split(file.YAML, "\n") {
			name, value, err := variableOf(line)
			if err != nil {
				return fmt.Errorf("reading line %d of %s: %w", i+1, file.Name, err)
			}
			if name == "" {
				continue
			}
			if err := os.Setenv(name, value); err != nil {
				return fmt.Errorf("reading line %d of %s: %w", i+1, file.Name, err)
			}
		}
	}
	return nil
}

// variableOf reads a line such as NAME=value, or NAME="a value" # and a comment. Its
// errors do not quote the line, which may have a secret.
func variableOf(line string) (name, value string, err error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, "#") {
		return "", "", nil
	}
	name, value, ok := strings.Cut(line, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok || name == "" {
		return "", "", fmt.Errorf("it is not of the form NAME=value")
	}
	if !strings.HasPrefix(value, `"`) {
		value, _, _ = strings.Cut(value, "#")
		return name, strings.TrimSpace(value), nil
	}
	quoted, err := strconv.QuotedPrefix(value)
	if err != nil {
		return "", "", fmt.Errorf("the quotes of %s do not end", name)
	}
	value, err = strconv.Unquote(quoted)
	return name, value, err
}
