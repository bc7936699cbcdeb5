"""From a configuration to objects: the only place that knows both."""

from pisam.build.callbacks import build_callbacks as build_callbacks
from pisam.build.callbacks import monitored as monitored
from pisam.build.data import build_data as build_data
from pisam.build.folders import stage1_checkpoint as stage1_checkpoint
from pisam.build.folders import stage_dir as stage_dir
from pisam.build.loggers import build_loggers as build_loggers
from pisam.build.loggers import git_revision as git_revision
from pisam.build.network import build_hq_network as build_hq_network
from pisam.build.network import build_network as build_network
from pisam.build.network import compile_network as compile_network
from pisam.build.stage import build_stage as build_stage
from pisam.build.stage import check_stage as check_stage
from pisam.build.stage import stage_config as stage_config
from pisam.build.trainer import build_fabric as build_fabric
from pisam.build.trainer import build_strategy as build_strategy
from pisam.build.trainer import build_trainer as build_trainer
from pisam.build.trainer import cluster_environment as cluster_environment
from pisam.build.trainer import duration as duration
from pisam.build.trainer import launch_ranks as launch_ranks
