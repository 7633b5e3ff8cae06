// All of Kubernetes' programs, and etcd, in one, which is what the name that it is called by says (or the first argument).
// They are much the same code: apart they would take ten times the time to link.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	for {
		var c *cobra.Command
		switch name {
		case "kube-apiserver":
			c = apiserver.NewAPIServerCommand()
		case "kube-controller-manager":
			c = kcm.NewControllerManagerCommand()
		case "kube-scheduler":
			c = scheduler.NewSchedulerCommand()
		case "kubelet":
			c = kubelet.NewKubeletCommand(context.Background())
		case "kube-proxy":
			c = proxy.NewProxyCommand()
		case "kubectl":
			if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
				kubectlutil.CheckErr(err)
			}
			return
		case "etcd":
			etcdmain.Main(os.Args)
			return
		default:
			if len(os.Args) < 2 || name == "" {
				fmt.Fprintln(os.Stderr, "call it as kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy|kubectl|etcd")
				os.Exit(2)
			}
			os.Args = os.Args[1:]
			name = filepath.Base(os.Args[0])
			if _, ok := known[name]; !ok {
				name = ""
			}
			continue
		}
		os.Exit(cli.Run(c))
	}
}

var known = map[string]struct{}{"kube-apiserver": {}, "kube-controller-manager": {}, "kube-scheduler": {}, "kubelet": {}, "kube-proxy": {}, "kubectl": {}, "etcd": {}}
