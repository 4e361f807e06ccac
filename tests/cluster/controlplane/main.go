// Command controlplane is Kubernetes' own control plane in one program: etcd, kube-apiserver,
// kube-controller-manager (with the real HPA controller), kube-scheduler and kube-proxy, beside kubectl
// and a reader of external metrics that is built on client-go.
//
// The tests need the real thing where no container runs, and the module proxy has the sources.
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: controlplane COMPONENT [FLAGS…]
components: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubectl,
external-metrics-client`

func main() {
	if len(os.Args) < 2 {
		fail(usage)
	}
	// Each component takes its name and flags from os.Args, as if it were a program of its own.
	os.Args = os.Args[1:]
	switch component := os.Args[0]; component {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubectl":
		kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	case "external-metrics-client":
		if err := readExternalMetrics(os.Args[1:], os.Stdout); err != nil {
			fail(err.Error())
		}
	default:
		fail("no component " + component + "\n" + usage)
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}
