"""Metadata, dependencies and entry points of the distribution `lundock`."""

from pathlib import Path

from setuptools import find_packages, setup

TARGET = [
    "fastapi>=0.115",
    "uvicorn>=0.30",
    "pydantic>=2.8",
    "pydantic-settings>=2.4",
    "jinja2>=3.1",
    "pyyaml>=6",
    "urllib3>=2.2",
]
LIO = ["rtslib-fb>=2.2.4"]
PROVISIONER = ["kubernetes>=31", "pydantic>=2.8", "pyyaml>=6", "urllib3>=2.2"]
LIBVIRT = ["kubernetes>=31", "libvirt-python>=9", "urllib3>=2.2"]
TRACING = ["opentelemetry-sdk>=1.27", "opentelemetry-exporter-otlp-proto-http>=1.27"]
CLUSTER = [
    "cryptography>=43",
    "psutil>=6",
    "requests>=2.32",
    "tenacity>=9",
]  # the embedded Kubernetes of ./demo and the tests (cluster/ itself is not shipped)
DEV = [
    "httpx>=0.27",  # of the agent before this one, which test_previous_release.py runs
    "hypothesis>=6.100",
    "import-linter>=2",
    "kubernetes-validate>=1.34",
    "mypy>=1.13",
    "promql-parser>=0.4",
    "pytest>=8",
    "pytest-docker>=3",
    "pytest-timeout>=2.3",
    "ruff>=0.8",
    "schemathesis>=4",
    "types-PyYAML",
    "types-psutil",
    "types-requests",
    "lxml>=5",
    "matplotlib>=3.9",
]

setup(
    name="lundock",
    version="0.1.0",
    description="iSCSI volumes for Kubernetes claims, and VMs that boot from them, all in user space",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["lundock_common*", "target_image*", "provisioner*", "vm_disks*"]),
    package_data={
        "lundock_common": ["py.typed"],
        "target_image": ["*.yaml", "py.typed", "agent/http/pages/*"],
        "provisioner": ["py.typed"],
        "vm_disks": ["py.typed"],
    },
    install_requires=[
        "click>=8.1",
        "prometheus-client>=0.20",
        "pyyaml>=6",
        "rich>=13",
        "structlog>=24",
    ],
    extras_require={
        "target": TARGET,
        "lio": LIO,
        "provisioner": PROVISIONER,
        "libvirt": LIBVIRT,
        "tracing": TRACING,
        "cluster": CLUSTER,
        "dev": TARGET + LIO + PROVISIONER + LIBVIRT + CLUSTER + TRACING + DEV,
    },
    entry_points={
        "console_scripts": [
            "lundock-target = target_image.cli.main:main",
            "lundock-provisioner = provisioner.__main__:main",
            "vm-disks = vm_disks.__main__:main",
            "kubectl-vm_disks = vm_disks.__main__:main",
            "onDefineDomain = vm_disks.hook:main",
        ]
    },
)
