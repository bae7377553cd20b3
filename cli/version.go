package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version is what there is to know of the program.
type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) version() version {
	return version{a.Version, a.Commit, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
}

func (v version) String() string {
	commit := ""
	if v.Commit != "" {
		commit = "commit " + v.Commit + ", "
	}
	return fmt.Sprintf("scimbox %s (%s%s, %s)", v.Version, commit, v.Go, v.Platform)
}

func (a *app) newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of the program",
		Example: `  scimbox version
  scimbox version --json`,
		Args: cobra.NoArgs,
		RunE: run(func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(a.version())
			}
			_, err := fmt.Fprintln(a.Stdout, a.version())
			return err
		}),
	}
	a.jsonFlag(cmd)
	return cmd
}
