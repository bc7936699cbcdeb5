"""From a configuration to objects: the only place that knows both."""

from pisam.training.assemble.callbacks import build_callbacks as build_callbacks
from pisam.training.assemble.callbacks import monitored as monitored
from pisam.training.assemble.data import build_data as build_data
from pisam.training.assemble.folders import stage1_checkpoint as stage1_checkpoint
from pisam.training.assemble.folders import stage_dir as stage_dir
from pisam.training.assemble.loggers import build_loggers as build_loggers
from pisam.training.assemble.loggers import git_revision as git_revision
from pisam.training.assemble.network import build_hq_network as build_hq_network
from pisam.training.assemble.network import build_network as build_network
from pisam.training.assemble.network import compile_network as compile_network
from pisam.training.assemble.stage import build_stage as build_stage
from pisam.training.assemble.stage import check_stage as check_stage
from pisam.training.assemble.stage import stage_config as stage_config
from pisam.training.assemble.trainer import build_fabric as build_fabric
from pisam.training.assemble.trainer import build_strategy as build_strategy
from pisam.training.assemble.trainer import build_trainer as build_trainer
from pisam.training.assemble.trainer import cluster_environment as cluster_environment
from pisam.training.assemble.trainer import duration as duration
from pisam.training.assemble.trainer import launch_ranks as launch_ranks
